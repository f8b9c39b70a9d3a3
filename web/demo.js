// The page without a server: the model is part of it, or lies beside it, and onnxruntime-web runs it in the browser.

import { start } from "../anomalae/page/page.js";
import { canonical } from "./canonical.js";
import { Engine } from "./engine.js";
import { showLicences } from "./parts.js";

const engine = new Engine(JSON.parse(document.getElementById("facts").textContent));
start(engine);
showLicences(document.getElementById("licences"));

// For whoever looks closer, and for tests.
export { canonical, engine };
