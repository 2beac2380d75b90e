"use strict";
// The page of `paha app`. It only calls the HTTP API (`/docs`); the server holds all state.

const by = (id) => document.getElementById(id);
const chosen = { image: null, audio: null };
const FINISHED = ["done", "failed", "cancelled"];
const NAMES = { unguided: "Unguided", sequential: "Sequential Guidance", differential: "Differential Guidance" };

async function api(method, path, body, type) {
  const answer = await fetch(path, { method, body, headers: type ? { "Content-Type": type } : {} });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const told = await answer.json().catch(() => ({}));
  const detail = Array.isArray(told.detail) ? told.detail.map((d) => d.msg).join("; ") : told.detail;
  throw new Error(detail || `the server answered ${answer.status}`);
}

function complain(error) { by("problem").textContent = error ? error.message || String(error) : ""; }

// Portrait and voice

function choose(kind, blob, name) {
  chosen[kind] = blob && new File([blob], name, { type: blob.type });
  const shown = by(kind === "image" ? "preview" : "heard");
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.hidden = !blob;
  if (blob) shown.src = URL.createObjectURL(blob);
  complain("");
}

by("image").addEventListener("change", (e) => { press(null); choose("image", e.target.files[0], "image"); });
by("audio").addEventListener("change", (e) => choose("audio", e.target.files[0], "audio"));

function press(button) {
  for (const one of by("examples").children) one.setAttribute("aria-pressed", String(one === button));
}

function example(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const picture = new Image();
  picture.src = `/v1/examples/${name}`;
  picture.alt = `Drawn presenter ${name}`;
  button.append(picture);
  button.addEventListener("click", async () => {
    press(button);
    by("image").value = "";
    choose("image", await (await fetch(picture.src)).blob(), name);
  });
  by("examples").append(button);
}

by("webcam").addEventListener("click", async () => {
  const camera = by("camera");
  try {
    if (camera.hidden) {
      camera.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      await camera.play();
      camera.hidden = false;
      by("webcam").textContent = "Take the picture";
      return;
    }
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [camera.videoWidth, camera.videoHeight];
    canvas.getContext("2d").drawImage(camera, 0, 0);
    for (const track of camera.srcObject.getTracks()) track.stop();
    camera.hidden = true;
    by("webcam").textContent = "Use the webcam";
    canvas.toBlob((blob) => choose("image", blob, "webcam"), "image/png");
  } catch (error) { complain(error); }
});

let recorder = null;
by("record").addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  try {
    const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(sound);
    recorder.ondataavailable = (e) => pieces.push(e.data);
    recorder.onstop = () => {
      for (const track of sound.getTracks()) track.stop();
      choose("audio", new Blob(pieces, { type: recorder.mimeType }), "voice");
      recorder = null;
      by("record").textContent = "Record";
    };
    recorder.start();
    by("record").textContent = "Stop recording";
  } catch (error) { complain(error); }
});

by("strength").addEventListener("input", (e) => { by("strength-value").value = e.target.value; });

// A new video

function settings(mode) {
  const wanted = { mode, seed: by("seed").value || "0", strength: by("strength").value };
  if (by("steps").value) wanted.steps = by("steps").value;
  if (by("solver").value) wanted.solver = by("solver").value;
  if (by("adapter").value) wanted.adapter = by("adapter").value;
  if (by("letterbox").checked) wanted.letterbox = "true";
  return wanted;
}

by("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  complain("");
  const text = by("text").value.trim();
  if (!chosen.image) return complain("Choose a portrait first.");
  if (!chosen.audio && !text) return complain("Choose a voice, or write what to say.");
  by("generate").disabled = true;
  const pair = newPair();
  try {
    for (const mode of new Set([by("mode").value, by("other").value || by("mode").value])) {
      const body = new FormData();
      body.append("image", chosen.image);
      if (chosen.audio) body.append("audio", chosen.audio);
      else { body.append("text", text); body.append("language", by("language").value); }
      for (const [name, value] of Object.entries(settings(mode))) body.append(name, value);
      show(await api("POST", "/v1/videos", body), pair);
    }
    by("results").focus();
  } catch (error) { complain(error); }
  if (!pair.children.length) pair.remove();
  by("generate").disabled = false;
});

function newPair() {
  const pair = document.createElement("div");
  pair.className = "pair";
  by("empty").after(pair);
  return pair;
}

// Videos

function show(video, pair) {
  by("empty").hidden = true;
  const card = by("card").content.firstElementChild.cloneNode(true);
  const part = (name) => card.querySelector(name);
  const url = `/v1/videos/${video.id}`;
  card.id = `video-${video.id}`;
  const who = video.settings.adapter ? `${video.settings.adapter}, ` : "";
  part("h2").textContent = `${who}${NAMES[video.settings.mode]}, seed ${video.settings.seed}`;
  part(".download").href = `${url}/result`;
  part(".download").download = `${video.id.slice(0, 8)}.mp4`;
  part(".sidecar").href = `${url}/sidecar`;
  part(".cancel").addEventListener("click", () => api("DELETE", url).catch(complain));
  part(".delete").addEventListener("click", async () => {
    await api("DELETE", url).catch(complain);
    card.remove();
  });
  part(".again").addEventListener("click", async () => {
    try {
      const next = { ...video.settings, seed: (video.settings.seed + 1) % 2 ** 31 };
      show(await api("POST", `${url}/again`, JSON.stringify(next), "application/json"), newPair());
    } catch (error) { complain(error); }
  });
  pair.append(card);
  together(pair);
  update(card, video);
  if (!FINISHED.includes(video.state)) {
    const events = new EventSource(`${url}/events`);
    events.onmessage = (event) => {
      const now = JSON.parse(event.data);
      update(card, now);
      if (FINISHED.includes(now.state)) events.close();
    };
  }
}

function update(card, video) {
  const part = (name) => card.querySelector(name);
  const ended = FINISHED.includes(video.state), url = `/v1/videos/${video.id}`, screen = part("video");
  card.dataset.state = video.state;
  card.classList.toggle("bad", video.state === "failed");
  part(".state").textContent = sentence(video);
  part("progress").hidden = ended;
  part("progress").value = video.segments_total ? video.segments_done / video.segments_total : 0;
  part(".cancel").hidden = ended;
  for (const name of [".download", ".sidecar", ".again"]) part(name).hidden = video.state !== "done";
  part(".delete").hidden = !ended;
  screen.hidden = video.state === "failed" || video.state === "cancelled" || (!ended && !video.segments_done);
  if (video.state === "done" && screen.dataset.of !== "result") {
    const at = screen.currentTime, plays = !screen.paused;
    screen.dataset.of = "result";
    screen.src = `${url}/result`;
    screen.currentTime = at;
    if (plays) screen.play().catch(() => {});
  } else if (!ended && video.segments_done && !screen.dataset.of) {
    screen.dataset.of = "stream"; // what is there plays while the rest is made
    screen.src = `${url}/stream`;
    screen.play().catch(() => {});
  }
}

function sentence(video) {
  if (video.state === "queued") return video.ahead ? `Waits for ${video.ahead} before it.` : "Waits.";
  if (video.state === "cancelling") return "Stops before the next step.";
  if (video.state === "cancelled") return "Cancelled.";
  if (video.state !== "running") return video.message || "Done.";
  const { segments_done: done, segments_total: total } = video;
  if (!done) return "The first segment is being made.";
  const left = (Date.now() / 1000 - video.started) / done * (total - done);
  return `Segment ${done} of ${total}, ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left.`;
}

function together(pair) { // two modes on one sound play and stop as one; the first is heard
  const screens = [...pair.querySelectorAll("video")];
  if (screens.length < 2) return;
  screens.forEach((screen, i) => { screen.muted = i > 0; });
  const [first, ...others] = screens;
  first.onplay = () => others.forEach((o) => { o.currentTime = first.currentTime; o.play().catch(() => {}); });
  first.onpause = () => others.forEach((o) => o.pause());
  first.onseeked = () => others.forEach((o) => { o.currentTime = first.currentTime; });
}

(async () => {
  try {
    const model = await api("GET", "/v1/model");
    const rounded = model.weights === "int8" ? ", int8 weights" : "";
    by("model").textContent = `Networks: ${model.name}${rounded}.`;
    by("licence").textContent = `Licence: ${model.licence}.`;
    by("steps").placeholder = model.steps;
    for (const { mode, reason } of model.modes) {
      for (const select of [by("mode"), by("other")]) {
        const option = new Option(reason ? `${NAMES[mode]} (not here)` : NAMES[mode], mode);
        option.disabled = Boolean(reason);
        option.title = reason;
        select.append(option);
      }
    }
    const guided = model.modes.find((m) => m.mode === "sequential" && !m.reason);
    by("mode").value = guided ? "sequential" : "unguided";
    for (const name of model.adapters) by("adapter").append(new Option(name));
    by("steps").disabled = by("solver").disabled = model.fast;
    by("adapters").hidden = !model.adapters.length;
    model.examples.forEach(example);
    for (const video of (await api("GET", "/v1/videos")).reverse()) show(video, newPair());
  } catch (error) { complain(error); }
})();
