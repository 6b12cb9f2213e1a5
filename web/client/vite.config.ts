// `npm run build -w @bunho/client`: a folder that can be published, client/dist. Says how large it is, and refuses to become large unnoticed.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const folder = fileURLToPath(new URL(".", import.meta.url));
/** Bytes of the whole library, compressed with brotli. The README says what it is. */
const BYTES_MAX = 3_584;

function published(): Plugin {
  return {
    name: "published",
    closeBundle() {
      const code = readFileSync(`${folder}dist/index.js`);
      const bytes = brotliCompressSync(code).length;
      console.log(`@bunho/client: ${code.length} bytes, ${gzipSync(code).length} with gzip, ${bytes} with brotli (at most ${BYTES_MAX})`);
      if (bytes > BYTES_MAX) throw new Error(`the client has grown beyond ${BYTES_MAX} bytes`);
      const { name, version, description, license } = JSON.parse(readFileSync(`${folder}package.json`, "utf8")) as Record<string, string>;
      const exports = { ".": { types: "./types/index.d.ts", default: "./index.js" } };
      const manifest = { name, version, description, license, type: "module", sideEffects: false, engines: { node: ">=20" }, exports };
      writeFileSync(`${folder}dist/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
      copyFileSync(`${folder}README.md`, `${folder}dist/README.md`);
    },
  };
}

export default defineConfig({
  root: folder,
  publicDir: false,
  build: { lib: { entry: "src/index.ts", formats: ["es"], fileName: "index" }, target: "es2022", minify: true, outDir: "dist" },
  plugins: [published()],
});
