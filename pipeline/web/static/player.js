// Draws people over a video, in one colour per person, and plays sightings.
const PALETTE_SIZE = 12;
const colours = (() => {
  const out = [];
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  for (let at = 0; at < PALETTE_SIZE; at++) { probe.className = "c" + at; out.push(getComputedStyle(probe).backgroundColor); }
  probe.className = "c-none";
  out.none = getComputedStyle(probe).backgroundColor;
  probe.remove();
  return out;
})();
const colourOf = identity => identity == null ? colours.none : colours[identity % PALETTE_SIZE];

class Overlay {
  constructor(video, canvas) {
    this.video = video; this.canvas = canvas; this.address = null; this.tracks = []; this.from = 0; this.until = -1; this.emphasis = null;
    const draw = (_, frame) => { this.draw(frame?.mediaTime); this.wait(draw); };
    this.wait(draw);
    for (const name of ["seeked", "loadeddata", "pause"]) video.addEventListener(name, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(video);
  }
  wait(draw) {
    if (this.video.requestVideoFrameCallback && !this.video.paused) this.video.requestVideoFrameCallback(draw);
    else requestAnimationFrame(draw);
  }
  open(address) { if (address !== this.address) { this.address = address; this.tracks = []; this.from = 0; this.until = -1; } }
  async ask(time) {
    if (!this.address || this.asking || (time >= this.from && time < this.until)) return;
    this.asking = true;
    const address = this.address, from = Math.max(0, time - 5), seconds = 120;
    try {
      const answer = await fetch(`${address}?start=${from.toFixed(2)}&seconds=${seconds}`);
      if (answer.ok && address === this.address) {
        const found = await answer.json();
        this.tracks = found.tracks; this.size = found.size; this.from = from;
        this.until = found.next != null && found.next > time ? found.next : from + seconds - 5;
        this.draw();
      } else { this.from = 0; this.until = Infinity; }
    } catch { this.from = time; this.until = time + 5; } finally { this.asking = false; }
  }
  draw(shown) {
    const {video, canvas} = this, wide = canvas.clientWidth, high = canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (!wide || !video.videoWidth) return;
    const time = shown ?? video.currentTime; // of the picture that is shown, which may lag behind the clock
    this.ask(time);
    if (this.drawn === `${time} ${wide} ${high} ${this.tracks.length} ${this.from}`) return;
    this.drawn = `${time} ${wide} ${high} ${this.tracks.length} ${this.from}`;
    canvas.width = Math.round(wide * ratio); canvas.height = Math.round(high * ratio);
    const pen = canvas.getContext("2d");
    const [w, h] = this.size || [video.videoWidth, video.videoHeight];
    const scale = Math.min(wide / w, high / h), left = (wide - w * scale) / 2, top = (high - h * scale) / 2;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const track of this.tracks) {
      const box = at(track.points, time);
      if (box) drawBox(pen, box.map((v, i) => v * scale + (i % 2 ? top : left)), track.identity, track.name, track.identity === this.emphasis);
    }
  }
}
// The box at a time: between two that are known, if they are close.
function at(points, time) {
  let low = 0, high = points.length - 1;
  if (high < 0 || time < points[0][0] - 0.06 || time > points[high][0] + 0.06) return null;
  while (low < high) { const middle = (low + high + 1) >> 1; if (points[middle][0] <= time) low = middle; else high = middle - 1; }
  const a = points[low], b = points[Math.min(low + 1, points.length - 1)], gap = b[0] - a[0];
  if (gap > 0 && gap < 2) { const share = Math.min(Math.max((time - a[0]) / gap, 0), 1); return [1, 2, 3, 4].map(i => a[i] + (b[i] - a[i]) * share); }
  return Math.abs(time - a[0]) < 0.5 ? a.slice(1) : null;
}
function drawBox(pen, [x1, y1, x2, y2], identity, name, strong) {
  const colour = colourOf(identity), text = identity == null ? "?" : name || String(identity);
  pen.lineWidth = strong ? 5 : 3; pen.strokeStyle = strong ? "#fff" : colour;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  if (strong) { pen.lineWidth = 3; pen.strokeStyle = colour; pen.strokeRect(x1, y1, x2 - x1, y2 - y1); }
  pen.font = "600 13px system-ui, sans-serif";
  const wide = Math.max(pen.measureText(text).width + 12, 30), y = Math.max(y1 - 20, 0);
  pen.fillStyle = colour; pen.fillRect(x1 - 2, y, wide, 20);
  pen.fillStyle = "#fff"; pen.fillText(text, x1 + 4, y + 14.5);
}

const player = document.querySelector("[data-player]");
if (player) {
  const video = player.querySelector("video"), overlay = new Overlay(video, player.querySelector("canvas"));
  const caption = document.querySelector("[data-caption][role=status]");
  overlay.emphasis = Number(player.dataset.identity);
  video.addEventListener("error", () => { if (video.error && video.getAttribute("src")) caption.textContent = "This video cannot be played: it may have been removed."; });
  document.addEventListener("click", event => {
    const button = event.target.closest("[data-play]");
    if (!button) return;
    for (const one of document.querySelectorAll(".playing")) one.classList.remove("playing");
    button.closest("li")?.classList.add("playing");
    const begin = () => { video.currentTime = Math.max(0, Number(button.dataset.from)); video.play().catch(() => {}); };
    overlay.open(button.dataset.boxes);
    if (video.getAttribute("src") !== button.dataset.play) {
      video.src = button.dataset.play;
      video.addEventListener("loadedmetadata", begin, {once: true});
      video.load();
    } else begin();
    caption.textContent = button.dataset.caption;
    if (player.getBoundingClientRect().bottom < 60 || player.getBoundingClientRect().top > innerHeight - 60) player.scrollIntoView({block: "center"});
  });
}
