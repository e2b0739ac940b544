// All cameras over one WebSocket: pictures come as length, JSON, JPEG; states as JSON text.
const wall = document.querySelector("[data-wall]");
if (wall) {
  const said = document.querySelector("[data-connection]"), cameras = new Map();
  for (const figure of wall.querySelectorAll("[data-camera]")) cameras.set(figure.dataset.camera, {figure, canvas: figure.querySelector("canvas"), busy: false, next: null});
  const probe = document.createElement("span");
  document.body.append(probe);
  const colourOf = identity => { probe.className = identity == null ? "c-none" : "c" + identity % 12; return getComputedStyle(probe).backgroundColor; };
  probe.hidden = true;
  const delays = wall.delays = [];
  let wait = 500;
  function connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/now`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { wait = 500; said.textContent = "connected"; };
    socket.onclose = event => {
      said.textContent = event.code === 1008 ? "not allowed any more: log in again" : "connection lost; connecting again…";
      if (event.code !== 1008) setTimeout(connect, wait = Math.min(wait * 2, 15000));
    };
    socket.onmessage = event => typeof event.data === "string" ? tell(JSON.parse(event.data)) : take(event.data);
  }
  function take(data) {
    const length = new DataView(data).getUint32(0, true);
    const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const camera = cameras.get(about.camera);
    if (!camera) return;
    camera.next = {about, jpeg: new Blob([new Uint8Array(data, 4 + length)], {type: "image/jpeg"})};
    if (!camera.busy) show(camera);
  }
  async function show(camera) {
    camera.busy = true;
    while (camera.next) {
      const {about, jpeg} = camera.next;
      camera.next = null;
      try {
        const picture = await createImageBitmap(jpeg), canvas = camera.canvas, pen = canvas.getContext("2d");
        if (canvas.width !== picture.width || canvas.height !== picture.height) { canvas.width = picture.width; canvas.height = picture.height; }
        pen.drawImage(picture, 0, 0);
        const scale = picture.width / about.size[0];
        picture.close();
        const people = [];
        pen.font = "600 13px system-ui, sans-serif";
        for (const [x1, y1, x2, y2, track, identity] of about.tracks) {
          const colour = colourOf(identity), text = identity == null ? "?" : String(identity), left = x1 * scale, top = y1 * scale;
          pen.lineWidth = 3; pen.strokeStyle = colour;
          pen.strokeRect(left, top, (x2 - x1) * scale, (y2 - y1) * scale);
          pen.fillStyle = colour; pen.fillRect(left - 1, Math.max(top - 18, 0), pen.measureText(text).width + 10, 18);
          pen.fillStyle = "#fff"; pen.fillText(text, left + 4, Math.max(top - 18, 0) + 13);
          if (identity != null) people.push(identity);
        }
        camera.shown = Date.now();
        delays.push(Date.now() / 1000 - about.time);
        if (delays.length > 5000) delays.splice(0, 2500);
        canvas.setAttribute("aria-label", `live picture of ${about.camera}: ${about.tracks.length} people`);
        link(camera.figure.querySelector("[data-people]"), people);
      } catch { /* a picture that cannot be shown is followed by the next */ }
    }
    camera.busy = false;
  }
  function link(place, people) {
    const key = people.join(" ");
    if (place.dataset.key === key) return;
    place.dataset.key = key;
    place.replaceChildren(...people.slice(0, 6).flatMap(identity => { const a = document.createElement("a"); a.href = "/people/" + identity; a.textContent = "Person " + identity; return [" · ", a]; }));
  }
  function tell(message) {
    for (const [name, one] of Object.entries(message.cameras)) {
      const camera = cameras.get(name);
      if (!camera) continue;
      const state = camera.figure.querySelector("[data-state]"), lag = camera.figure.querySelector("[data-lag]");
      const text = one.state + (one.reason ? `: ${one.reason}` : "");
      if (state.textContent !== text) { state.textContent = text; state.className = `state ${one.state}`; }
      lag.textContent = one.lag == null ? "" : `${one.lag.toFixed(1)} s behind`;
      camera.figure.classList.toggle("away", one.state !== "running");
    }
  }
  connect();
}
