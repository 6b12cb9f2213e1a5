// What the binary has in it. `crates/server/build.rs` reads the manifests and builds everything below dist/ in.
//
//   dist/wait   the waiting page: one script and one style, which the server writes into the page itself, so that a crowd costs one request each
//   dist/app    the console and the demo: files with hashed names below /assets/, kept by browsers for ever
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const entries: Record<string, Record<string, string>> = {
  wait: { wait: "src/wait/main.ts" },
  app: { console: "src/console/main.tsx", demo: "src/demo/main.tsx" },
};

/** Puts `.br` and `.gz` beside every file, as small as they get: done once here instead of on each request. */
function compressed(folder: string): Plugin {
  return {
    name: "compressed",
    writeBundle() {
      for (const name of readdirSync(folder).filter((name) => /\.(js|css|svg)$/.test(name))) {
        const bytes = readFileSync(join(folder, name));
        writeFileSync(join(folder, `${name}.br`), brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
        writeFileSync(join(folder, `${name}.gz`), gzipSync(bytes, { level: 9 }));
      }
    },
  };
}

export default defineConfig(({ mode }) => ({
  // Every address stays on the server that sent the page.
  base: "/assets/",
  publicDir: false,
  build: {
    outDir: `dist/${mode}`,
    assetsDir: ".",
    manifest: "manifest.json",
    target: "es2022",
    modulePreload: false,
    // The content security policy allows data only in images.
    assetsInlineLimit: 0,
    rolldownOptions: { input: entries[mode] ?? {} },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [compressed(`dist/${mode}`)],
}));
