// Zones, lines and areas on a camera's picture, by mouse, finger or keyboard; and the table of links.
const SVG = "http://www.w3.org/2000/svg";
const draw = document.querySelector("[data-draw]");
async function put(address, body, csrf) {
  const answer = await fetch(address, {method: "PUT", headers: {"Content-Type": "application/json", "X-CSRF-Token": csrf}, body: JSON.stringify(body)});
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof found.detail === "string" ? found.detail : `the server answered ${answer.status}`);
  for (const one of document.querySelectorAll("[data-version]")) one.dataset.version = found.version;
}
if (draw) {
  const canvas = draw.querySelector("[data-canvas]"), kind = draw.querySelector("[data-kind]"), name = draw.querySelector("[data-name]"), hint = draw.querySelector("[data-hint]");
  const begin = draw.querySelector("[data-begin]"), finish = draw.querySelector("[data-finish]"), undo = draw.querySelector("[data-undo]"), list = draw.querySelector("[data-shapes]"), saved = draw.querySelector("[data-saved]");
  let [width, height] = draw.dataset.size.split(",").map(Number);
  const drawing = JSON.parse(draw.dataset.drawing), areas = draw.dataset.areas.split(",");
  let points = null, cursor = [width / 2, height / 2], byKey = false;
  const lineLike = () => kind.value === "lines", named = () => kind.value === "zones" || kind.value === "lines";
  const make = (tag, values, text) => { const one = document.createElementNS(SVG, tag); for (const [key, value] of Object.entries(values)) one.setAttribute(key, value); if (text) one.textContent = text; return one; };
  function shapes() {
    return [
      ...Object.entries(drawing.zones).map(([label, zone]) => ({kind: "zones", label, points: zone.polygon})),
      ...Object.entries(drawing.lines).map(([label, line]) => ({kind: "lines", label, points: [line.start, line.end]})),
      ...areas.flatMap(area => drawing.areas[area].map((polygon, at) => ({kind: area, label: `${area} ${at + 1}`, at, points: polygon}))),
    ];
  }
  function paint() {
    canvas.replaceChildren();
    const size = Math.max(width, height) / 1000;
    const one = (shape, open) => {
      const text = shape.points.map(point => point.join(",")).join(" ");
      canvas.append(make(shape.kind === "lines" || open ? "polyline" : "polygon", {points: text, class: `shape ${shape.kind}${open ? " open" : ""}`, ...(shape.kind === "lines" || open ? {fill: "none"} : {})}));
      if (shape.kind === "lines" && shape.points.length === 2) {
        const [[x1, y1], [x2, y2]] = shape.points, long = Math.hypot(x2 - x1, y2 - y1) || 1, mx = (x1 + x2) / 2, my = (y1 + y2) / 2, nx = (y2 - y1) / long, ny = -(x2 - x1) / long, r = 34 * size;
        canvas.append(make("path", {d: `M${mx + nx * r} ${my + ny * r} L${mx - ny * r / 2} ${my + nx * r / 2} L${mx + ny * r / 2} ${my - nx * r / 2}z`, class: "inward"}), make("text", {x: mx + nx * r * 1.4, y: my + ny * r * 1.4, "font-size": 22 * size, "text-anchor": "middle"}, "in"));
      }
      if (shape.label && shape.points.length) canvas.append(make("text", {x: shape.points[0][0] + 8 * size, y: shape.points[0][1] + 24 * size, "font-size": 24 * size}, shape.label));
    };
    shapes().forEach(shape => one(shape, false));
    if (points) { one({kind: kind.value, points, label: ""}, true); for (const [x, y] of points) canvas.append(make("circle", {cx: x, cy: y, r: 6 * size, class: "vertex"})); }
    if (points && byKey) canvas.append(make("circle", {cx: cursor[0], cy: cursor[1], r: 14 * size, class: "cursor"}), make("circle", {cx: cursor[0], cy: cursor[1], r: 2 * size, class: "vertex"}));
    list.replaceChildren(...shapes().map(shape => {
      const item = document.createElement("li"), label = document.createElement("span"), swatch = document.createElement("span"), remove = document.createElement("button");
      swatch.className = `swatch ${shape.kind}`; label.append(swatch, `${shape.label} (${{zones: "zone", lines: "line"}[shape.kind] || "area"})`);
      remove.type = "button"; remove.textContent = "Remove"; remove.setAttribute("aria-label", `Remove ${shape.label}`);
      remove.addEventListener("click", () => { if (shape.at === undefined) delete drawing[shape.kind][shape.label]; else drawing.areas[shape.kind].splice(shape.at, 1); changed(); });
      item.append(label, remove);
      return item;
    }));
    if (!list.children.length) { const item = document.createElement("li"); item.className = "soft"; item.textContent = "nothing yet"; list.append(item); }
    finish.disabled = !points || points.length < (lineLike() ? 2 : 3); undo.disabled = !points || !points.length; begin.disabled = Boolean(points);
    canvas.classList.toggle("drawing", Boolean(points));
  }
  function changed() { saved.textContent = "not saved yet"; paint(); }
  function add(x, y) {
    if (!points) return;
    points.push([x, y].map(value => Math.round(value * 10) / 10));
    hint.textContent = `${points.length} point${points.length > 1 ? "s" : ""}`;
    if (lineLike() && points.length === 2) end(); else paint();
  }
  function end() {
    const label = name.value.trim();
    if (kind.value === "zones") drawing.zones[label] = {...drawing.zones[label], polygon: points};
    else if (kind.value === "lines") drawing.lines[label] = {...drawing.lines[label], start: points[0], end: points[1]};
    else drawing.areas[kind.value].push(points);
    points = null; name.value = ""; hint.textContent = lineLike() ? "The arrow shows the direction that counts as in." : "Done. Draw more, or save.";
    changed();
  }
  begin.addEventListener("click", () => {
    if (named() && !/^[\p{L}\p{N}_][\p{L}\p{N}_ .-]*$/u.test(name.value.trim())) { hint.textContent = "Give it a name first: letters, digits, spaces, _ - and ."; name.focus(); return; }
    points = []; hint.textContent = lineLike() ? "Set both ends: click, or arrow keys and Enter." : "Set the corners: click, or arrow keys and Enter; then Finish.";
    canvas.focus(); paint();
  });
  finish.addEventListener("click", end);
  undo.addEventListener("click", () => { points.pop(); paint(); });
  kind.addEventListener("change", () => { draw.querySelector("[data-name-field]").hidden = !named(); points = null; paint(); });
  canvas.addEventListener("pointerdown", event => {
    if (!points) return;
    byKey = false;
    const place = canvas.getBoundingClientRect();
    add(Math.min(Math.max((event.clientX - place.left) / place.width, 0), 1) * width, Math.min(Math.max((event.clientY - place.top) / place.height, 0), 1) * height);
  });
  canvas.addEventListener("keydown", event => {
    if (!points) return;
    const step = (event.shiftKey ? 50 : 10) * width / 1000, way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (way) { byKey = true; cursor = [Math.min(Math.max(cursor[0] + way[0] * step, 0), width), Math.min(Math.max(cursor[1] + way[1] * step, 0), height)]; paint(); }
    else if (event.key === "Enter" || event.key === " ") { byKey = true; add(...cursor); }
    else if (event.key === "Backspace") { points.pop(); paint(); }
    else if (event.key === "Escape") { if (!finish.disabled) end(); else { points = null; paint(); } begin.focus(); }
    else return;
    event.preventDefault();
  });
  draw.querySelector("[data-save]").addEventListener("click", async () => {
    saved.textContent = "saving…";
    try { await put(`/api/site/cameras/${encodeURIComponent(draw.dataset.camera)}`, {version: draw.dataset.version, ...drawing}, draw.dataset.csrf); saved.textContent = "saved"; }
    catch (error) { saved.textContent = `not saved: ${error.message}`; }
  });
  const still = draw.querySelector("[data-still]");
  const fit = () => { if (still.naturalWidth) { width = still.naturalWidth; height = still.naturalHeight; canvas.setAttribute("viewBox", `0 0 ${width} ${height}`); cursor = [width / 2, height / 2]; paint(); } };
  if (still) { still.addEventListener("load", fit); if (still.complete) fit(); still.addEventListener("error", () => { still.remove(); hint.textContent = "There is no picture of this camera; you can draw on the empty frame."; }); }
  addEventListener("beforeunload", event => { if (saved.textContent === "not saved yet") event.preventDefault(); });
  paint();
}
const links = document.querySelector("[data-links]");
if (links) {
  const rows = links.querySelector("[data-rows]"), said = links.querySelector("[data-links-saved]");
  links.querySelector("[data-add]").addEventListener("click", () => { rows.append(links.querySelector("[data-row]").content.cloneNode(true)); rows.lastElementChild.querySelector("select").focus(); });
  rows.addEventListener("click", event => event.target.closest("[data-remove]")?.closest("tr").remove());
  links.querySelector("[data-save-links]").addEventListener("click", async () => {
    const every = [...rows.children].map(row => {
      const out = {};
      for (const field of row.querySelectorAll("[data-key]")) {
        if (field.type === "checkbox") out[field.dataset.key] = field.checked;
        else if (field.value !== "") out[field.dataset.key] = field.type === "number" ? Number(field.value) : field.value;
      }
      return out;
    });
    said.textContent = "saving…";
    try { await put("/api/site/links", {version: links.dataset.version, links: every}, links.dataset.csrf); said.textContent = "saved"; }
    catch (error) { said.textContent = `not saved: ${error.message}`; }
  });
}
