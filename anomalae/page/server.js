// The page where a server judges: pictures are sent to it.

import { start } from "./page.js";

async function asked(address, type, body) {
  let answer;
  try {
    answer = await fetch(address, body === undefined ? {} : { method: "POST", headers: { "content-type": type }, body });
  } catch (error) {
    throw new Error(`The server does not answer (${error.message}).`);
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

start({
  isReady: true,
  footer: '<p>Nothing leaves this server, and nothing is kept. For programs: <a href="docs">what can be asked</a>, <a href="openapi.json">OpenAPI</a>.</p>',
  refusal: () => "",
  runs: () => asked("runs"),
  async look(picture, { run, calibration }) {
    const query = new URLSearchParams(calibration ? { run, calibration } : { run });
    let file = picture;
    if (picture instanceof HTMLCanvasElement) {
      query.set("polarity", "light");
      file = await new Promise((done) => picture.toBlob(done, "image/png"));
    }
    return asked(`look?${query}`, "application/octet-stream", file);
  },
  decode: async (run, code) =>
    (await asked(`decode?run=${encodeURIComponent(run)}`, "application/json", JSON.stringify({ code }))).image,
});
