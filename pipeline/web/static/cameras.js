// Several videos in step: one clock, which each video follows in its own seconds.
const sync = document.querySelector("[data-sync]");
if (sync) {
  const slider = sync.querySelector("[data-slider]"), clock = sync.querySelector("[data-clock]"), toggle = sync.querySelector("[data-toggle]");
  const speed = sync.querySelector("[data-speed]"), start = Number(sync.dataset.start), end = Number(sync.dataset.end);
  const offset = -new Date(start * 1000).getTimezoneOffset(); // the page's clock is the server's; only the difference counts
  const serverText = clock.textContent.trim().split(":").map(Number), at0 = Number(sync.dataset.at);
  const serverSeconds = serverText[0] * 3600 + serverText[1] * 60 + serverText[2] - Math.floor(at0);
  let now = at0, playing = false, before = 0;
  const cameras = [...sync.querySelectorAll("[data-camera]")].map(figure => {
    const video = figure.querySelector("video");
    return {figure, video, overlay: new Overlay(video, figure.querySelector("canvas")), feeds: JSON.parse(figure.dataset.feeds), said: figure.querySelector("[data-said]"), feed: null};
  });
  const text = time => { const day = ((Math.floor(time) + serverSeconds) % 86400 + 86400) % 86400; return [day / 3600, day / 60 % 60, day % 60].map(v => String(Math.floor(v)).padStart(2, "0")).join(":"); };
  function follow(camera) {
    const feed = camera.feeds.find(one => now >= one.first - 60 && now <= one.last + 60) || null;
    if (feed !== camera.feed) {
      camera.feed = feed;
      if (feed) { camera.overlay.open(feed.boxes); camera.video.src = feed.src; camera.video.load(); } else camera.video.removeAttribute("src");
    }
    const inside = feed && camera.video.readyState >= 1 && now - feed.epoch >= 0 && now - feed.epoch <= camera.video.duration;
    camera.said.textContent = feed ? (inside || camera.video.readyState < 1 ? "" : "no picture at this time") : "no recording at this time";
    if (!inside) { camera.video.pause(); return; }
    const wanted = now - feed.epoch, off = wanted - camera.video.currentTime;
    camera.video.playbackRate = Number(speed.value);
    if (!playing) { camera.video.pause(); if (Math.abs(off) > 0.02 && !camera.video.seeking) camera.video.currentTime = wanted; }
    else { if (Math.abs(off) > 0.25 && !camera.video.seeking) camera.video.currentTime = wanted; if (camera.video.paused) camera.video.play().catch(() => {}); }
  }
  function show() { slider.value = now; clock.textContent = text(now); slider.setAttribute("aria-valuetext", text(now)); cameras.forEach(follow); }
  function move(time) { now = Math.min(Math.max(time, start), end); show(); }
  function run(stamp) {
    if (playing) {
      if (before) now += Math.min((stamp - before) / 1000, 0.5) * Number(speed.value);
      if (now >= end) { now = end; play(false); }
    }
    before = stamp;
    if (playing) show();
    requestAnimationFrame(run);
  }
  function play(on) { playing = on; toggle.querySelector("[data-label]").textContent = on ? "Pause all" : "Play all"; show(); }
  toggle.addEventListener("click", () => { if (!playing && now >= end) now = start; play(!playing); });
  slider.addEventListener("input", () => move(Number(slider.value)));
  for (const one of sync.querySelectorAll("[data-step]")) one.addEventListener("click", () => move(now + Number(one.dataset.step)));
  for (const camera of cameras) camera.video.addEventListener("loadedmetadata", show);
  show();
  requestAnimationFrame(run);
}
