// What the page is made of: each part is in it, as base64 in an element of its own, or is a file beside it.

export async function part(name) {
  const element = document.getElementById(`part-${name}`);
  const bytes = element ? decoded(element.textContent) : await beside(name);
  element?.remove();
  // gzip says so in its first bytes; some servers unpack it on the way.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old for this page.");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function beside(name) {
  try {
    const answer = await fetch(name);
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
    throw new Error(`status ${answer.status}`);
  } catch (error) {
    const local = location.protocol === "file:" ? "; this folder is for a web server, a demo of one file opens by itself" : "";
    throw new Error(`${name} cannot be read (${error.message})${local}.`);
  }
}

function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// The licences of what is in the page, read when they are asked for.
export function showLicences(details) {
  details.addEventListener(
    "toggle",
    async () => {
      details.querySelector("pre").textContent = new TextDecoder().decode(await part("licences.txt"));
    },
    { once: true },
  );
}
