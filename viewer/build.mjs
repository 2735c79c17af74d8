// Bundles src/ into a classic script and a style sheet for each page. The first line of each says from which sources it was
// made, and what the rest must be; tests/videomesh/report/test_assets.py reads it.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
// Each page: its script in src/, the folder of what is built, and what is no source of it.
const PAGES = [
  { name: "viewer", entry: "main", out: "../src/videomesh/report/assets", without: /^adjust/ },
  { name: "adjust", entry: "adjust", out: "../src/videomesh/adjust/assets", without: null },
];
const OTHERS = ["build.mjs", "package.json", "package-lock.json"];
const PARTS = ["three", "uplot"]; // what may be bundled, and nothing else

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

function checksumOfSources(without) {
  const names = readdirSync(join(HERE, "src")).filter((name) => !without?.test(name));
  const files = [...OTHERS, ...names.map((name) => `src/${name}`)].sort();
  return sha256(files.map((file) => `${file} ${sha256(readFileSync(join(HERE, file)))}\n`).join(""));
}

async function bundle({ name, entry, out }) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: HERE,
    entryPoints: [`src/${entry}.js`],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "ascii",
    legalComments: "none", // they are in LICENSES.txt
    outdir: join(HERE, out),
    entryNames: name,
    metafile: true,
    write: false,
  });
  return { files: outputFiles, parts: findParts(Object.keys(metafile.inputs)) };
}

function findParts(inputs) {
  const packages = inputs.map((file) => file.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean);
  const unknown = new Set(packages.filter((name) => !PARTS.includes(name)));
  if (unknown.size) throw new Error(`bundled without a licence in LICENSES.txt: ${[...unknown].join(", ")}`);
  return PARTS.filter((name) => packages.includes(name));
}

function write({ path, text }, sources) {
  if (/<\/(script|style)|<!--/i.test(text)) throw new Error(`${path} would end the element that holds it`);
  writeFileSync(path, `/* Built by viewer/build.mjs from sources ${sources}, the rest is ${sha256(text)} */\n${text}`);
  console.log(`${path}: ${Math.round(text.length / 1000)} kB`);
}

function licences(name, parts) {
  const texts = parts.map((part) => {
    const folder = join(HERE, "node_modules", part);
    const { version, license, homepage } = JSON.parse(readFileSync(join(folder, "package.json")));
    return `${part} ${version} (${license}), ${homepage}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
  });
  return `${name}.js and ${name}.css contain parts of:\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

for (const page of PAGES) {
  const out = join(HERE, page.out);
  mkdirSync(out, { recursive: true });
  const sources = checksumOfSources(page.without);
  const { files, parts } = await bundle(page);
  for (const file of files) write(file, sources);
  writeFileSync(join(out, "LICENSES.txt"), licences(page.name, parts));
}
