// What the page hands over: one JSON object, and binary parts as base64. README.md has the contract.

export function readPageData() {
  const node = document.getElementById("page-data");
  return (node && JSON.parse(node.textContent)) || {};
}

/** The bytes of a blob, or null if the page has no such blob. */
export function readBlob(id) {
  const node = id && document.getElementById(id);
  if (!node) return null;
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(node.textContent);
  const text = atob(node.textContent.trim()); // browsers before 2025
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function list(value) {
  return Array.isArray(value) ? value : [];
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
