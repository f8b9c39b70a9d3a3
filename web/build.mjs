// Builds what `anomalae demo` puts into a page: the script, onnxruntime-web's code for the browser, and their licences.
// Beside them lie hashes of what they were made from and of themselves, by which a test sees when they are stale.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const root = new URL("..", import.meta.url);
const at = (path) => new URL(path, root);
const BUILT = "anomalae/demo/built/";
const WASM = "web/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";
const sources = [
  ...readdirSync(at("web/"))
    .filter((name) => /\.(m?js|json)$/.test(name))
    .map((name) => `web/${name}`),
  ...readdirSync(at("web/licences/")).map((name) => `web/licences/${name}`),
  "anomalae/page/page.js",
].sort();

mkdirSync(at(BUILT), { recursive: true });
await build({
  entryPoints: [at("web/demo.js").pathname],
  outfile: at(`${BUILT}demo.js`).pathname,
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "anomalae",
  target: "es2022",
  logLevel: "warning",
  // The runtime's code is given to it: it looks for nothing.
  logOverride: { "empty-import-meta": "silent" },
});
// onnxruntime-web carries no licence: these are of onnxruntime's Python wheel of the same version, which is made of the same
// sources. Nothing else from npm is in the script: what its bundle has of others the notices tell.
const licences = readdirSync(at("web/licences/"))
  .sort()
  .map((name) => `${"=".repeat(80)}\n${name}\n${"=".repeat(80)}\n\n${readFileSync(at(`web/licences/${name}`), "utf8")}`);
writeFileSync(at(`${BUILT}licences.txt`), licences.join("\n"));
writeFileSync(at(`${BUILT}ort.wasm.gz`), gzipSync(readFileSync(at(WASM)), { level: 9 }));

const hashes = (paths) =>
  Object.fromEntries(paths.map((path) => [path, createHash("sha256").update(readFileSync(at(path))).digest("hex")]));
const built = ["demo.js", "licences.txt", "ort.wasm.gz"].map((name) => BUILT + name);
writeFileSync(at(`${BUILT}hashes.json`), `${JSON.stringify({ sources: hashes(sources), built: hashes(built) }, null, 2)}\n`);
