// Bundles src/ into one classic script and one style sheet, for pages that open from disk. The first line of each says
// from which sources it was made, and what the rest must be; tests/videomesh/report/test_assets.py reads it.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = join(HERE, "../src/videomesh/report/assets");
const OTHERS = ["build.mjs", "package.json", "package-lock.json"];
const PARTS = ["three", "uplot"]; // what is bundled, and nothing else

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

function checksumOfSources() {
  const files = [...OTHERS, ...readdirSync(join(HERE, "src")).map((name) => `src/${name}`)].sort();
  return sha256(files.map((file) => `${file} ${sha256(readFileSync(join(HERE, file)))}\n`).join(""));
}

async function bundle() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: HERE,
    entryPoints: ["src/main.js"],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "ascii",
    legalComments: "none", // they are in LICENSES.txt
    outdir: OUT,
    entryNames: "viewer",
    metafile: true,
    write: false,
  });
  checkParts(Object.keys(metafile.inputs));
  return outputFiles;
}

function checkParts(inputs) {
  const packages = inputs.map((file) => file.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean);
  const unknown = new Set(packages.filter((name) => !PARTS.includes(name)));
  if (unknown.size) throw new Error(`bundled without a licence in LICENSES.txt: ${[...unknown].join(", ")}`);
}

function write({ path, text }, sources) {
  if (/<\/(script|style)|<!--/i.test(text)) throw new Error(`${path} would end the element that holds it`);
  writeFileSync(path, `/* Built by viewer/build.mjs from sources ${sources}, the rest is ${sha256(text)} */\n${text}`);
  console.log(`${path}: ${Math.round(text.length / 1000)} kB`);
}

function licences() {
  const texts = PARTS.map((name) => {
    const folder = join(HERE, "node_modules", name);
    const { version, license, homepage } = JSON.parse(readFileSync(join(folder, "package.json")));
    return `${name} ${version} (${license}), ${homepage}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
  });
  return `viewer.js and viewer.css contain parts of:\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

mkdirSync(OUT, { recursive: true });
const sources = checksumOfSources();
for (const file of await bundle()) write(file, sources);
writeFileSync(join(OUT, "LICENSES.txt"), licences());
