// Builds src/ into the folder that ships in the Python package. `--watch` builds on each change.
import { context } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv.find((word) => word.startsWith("--outdir="))?.slice(9);
const outdir = folder ?? join(here, "../src/sirocco/playground");

/** Writes index.html and the licences beside what esbuild has made, and removes what is old. */
const finish = {
  name: "finish",
  setup(build) {
    build.onEnd(async ({ metafile, errors }) => {
      if (errors.length) return;
      const made = Object.entries(metafile.outputs).map(([path, { entryPoint }]) => [
        path.split("/").at(-1),
        entryPoint,
      ]);
      const named = (entry) => made.find(([, entryPoint]) => entryPoint === entry)[0];
      const page = (await readFile(join(here, "src/index.html"), "utf8")).replace(
        /\{\{(.*?)\}\}/g,
        (_, entry) => `/playground/${named(entry)}`,
      );
      await writeFile(join(outdir, "index.html"), page);
      await writeFile(join(outdir, "licenses.txt"), await licences(metafile));
      const kept = new Set(["index.html", "licenses.txt", ...made.map(([name]) => name)]);
      for (const name of await readdir(outdir)) {
        if (!kept.has(name)) await rm(join(outdir, name));
      }
    });
  },
};

/** The licence texts of every package that something was taken from. */
async function licences(metafile) {
  const packages = new Set();
  for (const path of Object.keys(metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) packages.add(found[1]);
  }
  const texts = [...packages].sort().map(async (name) => {
    const at = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(at, "package.json"), "utf8"));
    const file = (await readdir(at)).find((file) => /^licen[cs]e/i.test(file));
    const text = file ? await readFile(join(at, file), "utf8") : "";
    return `${name} ${version} (${license})\n\n${text.replaceAll("\r", "").trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(72)}\n\n`);
}

await mkdir(outdir, { recursive: true });
const building = await context({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx", "src/theme-first.ts", "src/style.css", "src/icon.svg"],
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022", "chrome123", "firefox121", "safari17.5"],
  minify: true,
  metafile: true,
  legalComments: "none", // all licences are in licenses.txt
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  loader: { ".woff2": "file", ".svg": "copy" },
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
  plugins: [finish],
});
if (process.argv.includes("--watch")) {
  await building.watch();
} else {
  await building.rebuild();
  await building.dispose();
}
