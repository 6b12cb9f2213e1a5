// deploy/verify: the same passes, good and bad, before each language's own verification. What a language needs is fetched by its own package client into
// target/verify; a language that is not on this machine, or whose packages cannot be fetched, is skipped and says so.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { Server, until } from "./harness.ts";
import { badPasses, claimsOf, joined, keptFolder, root, signed, signingKey } from "./kit.ts";

const run = promisify(execFile);
const pages = join(root, "deploy/verify");
const drivers = join(root, "web/e2e/verify");

interface Language {
  name: string;
  /** The program that must be there. */
  needs: string[];
  /** Brings what is needed into its folder and says what to start. An error skips the language. */
  prepare: (folder: string) => Promise<{ command: string[]; env?: Record<string, string> }>;
}

const copy = (from: string, folder: string, ...path: string[]) => copyFileSync(join(from, ...path), join(folder, path.at(-1) ?? ""));

/** Does something once for these versions; the packages stay for the next run. */
async function once(folder: string, versions: string, fetch: () => Promise<unknown>): Promise<void> {
  const note = join(folder, "fetched");
  if (existsSync(note) && readFileSync(note, "utf8") === versions) return;
  await fetch();
  writeFileSync(note, versions);
}

/** Java and Kotlin are compiled together: one build, one library. */
async function compiled(): Promise<string> {
  const folder = keptFolder("verify/jvm");
  mkdirSync(join(folder, "source"), { recursive: true });
  copy(drivers, folder, "pom.xml");
  copy(drivers, join(folder, "source"), "Try.java");
  copy(pages, join(folder, "source"), "java", "Verify.java");
  copy(pages, join(folder, "source"), "kotlin", "Verify.kt");
  // In its own process: Kotlin's daemon would stay for hours.
  const options = [`-Dmaven.repo.local=${join(folder, "m2")}`, "-Dkotlin.compiler.daemon=false"];
  await run("mvn", ["-q", "-B", ...options, "compile"], { cwd: folder, timeout: 240_000 });
  return folder;
}
let jvm: Promise<string> | undefined;
const java = async (language: string) => {
  const folder = await (jvm ??= compiled());
  return { command: ["java", "-cp", `${join(folder, "target/classes")}:${join(folder, "lib/*")}`, "Try", language] };
};

const languages: Language[] = [
  {
    name: "node",
    needs: ["node", "npm"],
    prepare: async (folder) => {
      copy(pages, folder, "node", "verify.mjs");
      copy(drivers, folder, "try.mjs");
      await once(folder, "jose@6.2.17", () => run("npm", ["install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "jose@6.2.17"], { timeout: 120_000 }));
      return { command: ["node", join(folder, "try.mjs")] };
    },
  },
  {
    name: "python",
    needs: ["python3"],
    prepare: async (folder) => {
      copy(pages, folder, "python", "verify.py");
      copy(drivers, folder, "try.py");
      const packages = ["pyjwt[crypto]==2.15.1"];
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--upgrade", "--target", join(folder, "packages")];
      await once(folder, packages.join(), () => run("python3", [...pip, ...packages], { timeout: 120_000 }));
      return { command: ["python3", join(folder, "try.py")], env: { PYTHONPATH: join(folder, "packages") } };
    },
  },
  {
    name: "go",
    needs: ["go"],
    prepare: async (folder) => {
      copy(pages, folder, "go", "verify.go");
      for (const file of ["try.go", "go.mod", "go.sum"]) copy(drivers, folder, "go", file);
      const env = { ...process.env, GOMODCACHE: join(folder, "packages"), GOCACHE: join(folder, "cache"), GOFLAGS: "-modcacherw" };
      await run("go", ["build", "-o", join(folder, "try"), "."], { cwd: folder, env, timeout: 240_000 });
      return { command: [join(folder, "try")] };
    },
  },
  { name: "java", needs: ["java", "javac", "mvn"], prepare: () => java("java") },
  { name: "kotlin", needs: ["java", "javac", "mvn"], prepare: () => java("kotlin") },
  {
    name: "php",
    needs: ["php"],
    prepare: () => Promise.resolve({ command: ["php", join(drivers, "try.php"), join(pages, "php/verify.php")] }),
  },
];

/** A program of one language that verifies for as long as it runs. */
class Verifier {
  private readonly answers: string[] = [];
  private readonly child: ChildProcess;
  private said = "";

  constructor([program = "", ...args]: string[], env: Record<string, string>) {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    createInterface({ input: child.stdout }).on("line", (line) => this.answers.push(line));
    child.stderr.on("data", (part: Buffer) => (this.said += part.toString()));
    this.child = child;
  }

  async verify(zone: string, pass: string): Promise<string> {
    this.child.stdin?.write(`${zone} ${pass}\n`);
    await until("an answer", () => this.answers.length > 0 || this.child.exitCode !== null).catch(() => undefined);
    const answer = this.answers.shift();
    if (answer === undefined) throw new Error(`no answer: ${this.said}`);
    return answer;
  }

  stop(): void {
    this.child.kill("SIGKILL");
  }
}

let server: Server;
let good: string;
let other: string;

beforeAll(async () => {
  server = await Server.start();
  for (const zone of ["shop", "other"]) await server.admin("PUT", `/zones/${zone}`, { entry_limit_per_minute: null });
});
afterAll(async () => {
  await server.stop();
});

describe.each(languages)("$name", ({ name, needs, prepare }) => {
  let verifier: Verifier | undefined;
  let reason = "";

  beforeAll(async () => {
    try {
      for (const program of needs) await run("which", [program]).catch(() => Promise.reject(new Error(`no ${program} on this machine`)));
      const { command, env } = await prepare(name === "php" ? root : keptFolder(name === "java" || name === "kotlin" ? "verify/jvm" : `verify/${name}`));
      verifier = new Verifier(command, { BUNHO_JWKS: `${server.url}/.well-known/jwks.json`, ...env });
    } catch (error) {
      reason = String(error);
      console.warn(`skipped: ${name}: ${reason.slice(0, 2_000)}`);
    }
    // Not before: fetching and compiling may take longer than a pass is good.
    good = (await joined(server, "shop")) ?? "";
    other = (await joined(server, "other")) ?? "";
  }, 300_000);
  afterAll(() => verifier?.stop());

  test("a good pass is good, and only for its zone", async ({ skip }) => {
    if (!verifier) return skip(`${name} is not here`);
    expect(await verifier.verify("shop", good)).toBe(`yes ${String(claimsOf(good)["sub"])}`);
    expect(await verifier.verify("other", good)).toBe("no");
    expect(await verifier.verify("other", other)).toMatch(/^yes /);
  });

  test("no bad pass is good", async ({ skip }) => {
    if (!verifier) return skip(`${name} is not here`);
    for (const [what, pass] of Object.entries(badPasses(server, good, other))) expect(await verifier.verify("shop", pass), what).toBe("no");
    const { kid, key } = signingKey(server);
    const head = { typ: "JWT", alg: "EdDSA", kid };
    const claims = claimsOf(good);
    for (const missing of ["exp", "nbf", "iss", "aud"]) {
      const pass = signed(head, Object.fromEntries(Object.entries(claims).filter(([claim]) => claim !== missing)), key);
      expect(await verifier.verify("shop", pass), `without ${missing}`).toBe("no");
    }
    // Clocks differ a little; a pass is not refused for that.
    const now = Math.floor(Date.now() / 1_000);
    expect(await verifier.verify("shop", signed(head, { ...claims, nbf: now + 3 }, key)), "a clock that is three seconds behind").toMatch(/^yes /);
  });

  test("a new key is found without a restart", async ({ skip }) => {
    if (!verifier) return skip(`${name} is not here`);
    const asked = verifier;
    await server.admin("POST", "/pass-keys");
    const fresh = (await joined(server, "shop")) ?? "";
    // Keys are not fetched for every stranger's pass: it may take some seconds.
    await until("the new key is known", async () => (await asked.verify("shop", fresh)).startsWith("yes "), 20_000);
    expect(await asked.verify("shop", good), "passes of the old key").toMatch(/^yes /);
  });
});
