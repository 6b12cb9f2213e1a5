// What every test of a page needs: the real program on a port and a folder of its own, and Debian's Chromium.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const ADMIN_KEY = "bk_admin-key-for-page-tests";

/** The program under test: `BUNHO_PROGRAM`, or what cargo built. */
export function program(): string {
  const found = [process.env["BUNHO_PROGRAM"], join(root, "target/debug/bunho"), join(root, "target/release/bunho")].find((path) => path && existsSync(path));
  if (!found) throw new Error("no program: cargo build --bin bunho, or set BUNHO_PROGRAM");
  return found;
}

export interface ServerOptions {
  demo?: boolean;
  /** A folder and a port to start on again. */
  data?: string;
  port?: number;
  env?: Record<string, string>;
}

/** A server of this test's own, on loopback. */
export class Server {
  private constructor(
    readonly url: string,
    readonly data: string,
    private readonly child: ChildProcess,
    private readonly own: boolean,
    /** Where administration is, if it has an address of its own. */
    readonly administration: string | undefined,
  ) {}

  static async start(options: ServerOptions = {}): Promise<Server> {
    const data = options.data ?? mkdtempSync(join(tmpdir(), "bunho-pages-"));
    const args = ["serve", "--data", data, "--listen", `127.0.0.1:${options.port ?? 0}`, ...(options.demo ? ["--demo"] : [])];
    // Keys of passes are changed within seconds here.
    const env = { ...process.env, BUNHO_ADMIN_KEY: ADMIN_KEY, BUNHO_PASS__KEY_PUBLISH_SECONDS: "0", ...options.env };
    const child = spawn(program(), args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const said: string[] = [];
    let administration: string | undefined;
    const url = await new Promise<string>((found, failed) => {
      const listen = (line: string) => {
        said.push(line);
        const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
        if (!address) return;
        // Told before the other one.
        if (line.startsWith("administration")) administration = address;
        else found(address);
      };
      createInterface({ input: child.stdout }).on("line", listen);
      createInterface({ input: child.stderr }).on("line", listen);
      child.on("exit", (code) => failed(new Error(`the server ended (${code ?? "signal"}):\n${said.join("\n")}`)));
    });
    const server = new Server(url, data, child, options.data === undefined, administration);
    await until("the server is ready", async () => (await fetch(`${url}/readyz`)).ok);
    return server;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Ends the process: politely, or as a crash would. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((done) => this.child.once("exit", done));
      this.child.kill(signal);
      await ended;
    }
    if (this.own && signal === "SIGTERM") rmSync(this.data, { recursive: true, force: true });
  }

  /** Calls the administration API with the admin key; anything but 2xx is an error. */
  async admin<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    return (await this.call(method, `/admin/api${path}`, body, { authorization: `Bearer ${ADMIN_KEY}` })) as T;
  }

  /** Calls anything; anything but 2xx is an error. */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, address = this.url): Promise<unknown> {
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(address + path, { method, headers: { ...json, ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }
}

let shared: Promise<Browser> | undefined;

/** One browser for all tests of a file. */
export function browser(): Promise<Browser> {
  // Without these Chromium looks for its maker's hosts at every start.
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  shared ??= chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: quiet });
  return shared;
}

export async function closeBrowser(): Promise<void> {
  await (await shared)?.close();
  shared = undefined;
}

/** A browser of somebody's own: nothing stored, and what a page logs as an error fails the test that asks `problems`. */
export async function visitor(options: BrowserContextOptions = {}): Promise<{ context: BrowserContext; page: Page; problems: string[] }> {
  const context = await (await browser()).newContext({ locale: "en-GB", timezoneId: "Asia/Seoul", ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    // What a server refuses shows as an error line too; tests that provoke refusals look at the page instead.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(message.text());
  });
  return { context, page, problems };
}

/** What axe-core finds wrong by WCAG 2.2 AA, in short lines. */
export async function violations(page: Page): Promise<string[]> {
  // By hand and not as a script tag: the pages' policy allows no such tag.
  await page.evaluate(axe.source);
  const result = await page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const found = await (globalThis as unknown as { axe: typeof axe }).axe.run(document, { runOnly: { type: "tag", values: tags } });
    return found.violations.map((violation) => ({ id: violation.id, nodes: violation.nodes.map((node) => node.html.slice(0, 160)) }));
  });
  return result.map((violation) => `${violation.id}: ${violation.nodes.join(" | ")}`);
}

/** Waits for a state, not for a time. */
export async function until(what: string, check: () => Promise<boolean> | boolean, ms = 20_000): Promise<void> {
  const end = Date.now() + ms;
  for (;;) {
    if (await Promise.resolve(check()).catch(() => false)) return;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Where a picture goes when somebody wants to look (`BUNHO_SHOTS=folder`). */
export async function shot(page: Page, name: string): Promise<void> {
  const folder = process.env["BUNHO_SHOTS"];
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
