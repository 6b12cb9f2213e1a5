// deploy/kit in front of a site that knows nothing of Bunho: each proxy with the very files of the kit, a real Bunho, a real site, a crowd.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";
import { ask, badPasses, blackHole, firstLine, joined, proxies, root, Running, Site, type Answer } from "./kit.ts";

const person = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
const machine = { accept: "application/json" };

const cookie = (pass: string) => ({ cookie: `theirs=1; bunho_pass=${pass}; other=2` });
const wayBack = (answer: Answer) => new URL(answer.headers.location ?? "", "http://site").searchParams.get("return_to");

test("every proxy can send the page of an outage", () => {
  // Envoy reads a % in it as its own.
  expect(readFileSync(join(root, "deploy/kit/outage.html"), "utf8")).not.toContain("%");
});

describe.each(proxies)("$name", (proxy) => {
  const program = proxy.find();
  if (program instanceof Error) {
    console.warn(`skipped: ${proxy.name}: ${program.message}`);
    test.skip(`${proxy.name} is not here`, () => undefined);
    return;
  }

  let site: Site;
  let bunho: Server;
  let running: Running;
  let good: string;

  const zone = (id: string, settings: object) => bunho.admin("PUT", `/zones/${id}`, settings);
  const get = (path: string, headers: Record<string, string>, more: { method?: string; body?: string } = {}) => ask(running.port, path, { headers, ...more });
  /** Refused as a program sees it, and the site knew nothing of it. */
  const refused = async (path: string, headers: Record<string, string>) => {
    const seen = site.seen.length;
    const answer = await get(path, { ...machine, ...headers });
    expect(site.seen.length, `${path} reached the site`).toBe(seen);
    return answer;
  };

  beforeAll(async () => {
    site = await Site.start();
    bunho = await Server.start();
    await zone("shop", { entry_limit_per_minute: null });
    await zone("other", { entry_limit_per_minute: null });
    running = await Running.start(proxy, program, site, bunho.port, "closed");
    good = (await joined(bunho, "shop")) ?? "";
    expect(good).not.toBe("");
    // Some ask for Bunho's health first.
    await until("checks are answered", async () => (await get("/shop/", { ...machine, ...cookie(good) })).status === 200);
  });
  afterAll(async () => {
    await running.stop();
    await bunho.stop();
    await site.stop();
  });

  test("the rest of the site is as it was", async () => {
    // Also where Bunho has something of that name: its console needs /assets/, its waiting page does not.
    expect((await get("/assets/app.js", {})).text).toContain("The shop");
    const answer = await get("/about?a=1&b=%20", { ...person, "x-theirs": "yes" });
    expect(answer.status).toBe(200);
    expect(answer.text).toContain("The shop");
    expect(site.seen.at(-1)).toMatchObject({ method: "GET", url: "/about?a=1&b=%20" });
    expect(site.seen.at(-1)?.headers["x-theirs"]).toBe("yes");
  });

  test("without a pass a person is sent to the waiting page and a program is told", async () => {
    const seen = site.seen.length;
    const sent = await get("/shop/hat", person);
    expect(sent.status).toBe(302);
    expect(sent.headers.location).toMatch(/^\/wait\/shop\?return_to=/);
    expect(wayBack(sent)).toBe("/shop/hat");

    const told = await get("/shop/hat", machine);
    expect(told.status).toBe(401);
    expect(told.headers["content-type"]).toContain("application/problem+json");
    expect(JSON.parse(told.text)).toMatchObject({ status: 401, code: "pass_required" });

    // A form that is sent is refused before it is sent.
    expect((await get("/shop/order", person, { method: "POST", body: "hat=1" })).status).toBeOneOf([302, 307]);
    expect((await get("/shop", person)).status).toBeOneOf([301, 302]);
    expect(site.seen.length).toBe(seen);
  });

  test("a good pass enters, wherever it stands", async () => {
    for (const headers of [cookie(good), { "bunho-pass": good }]) {
      const answer = await get("/shop/hat?size=m", { ...person, ...headers });
      expect(answer.status).toBe(200);
      expect(site.seen.at(-1)?.url).toBe("/shop/hat?size=m");
    }
    const order = await get("/shop/order", { ...person, ...cookie(good) }, { method: "POST", body: "hat=1" });
    expect(order.status).toBe(200);
    expect(site.seen.at(-1)).toMatchObject({ method: "POST", url: "/shop/order", body: "hat=1" });
    // The site's own cookies are left alone.
    expect(site.seen.at(-1)?.headers.cookie).toContain("theirs=1");
  });

  test.runIf(proxy.can.query)("a good pass in the query becomes a cookie; a bad one does not", async () => {
    const answer = await get(`/shop/hat?size=m&pass=${good}`, person);
    expect(answer.status).toBe(200);
    const kept = (answer.headers["set-cookie"] ?? []).filter((line) => line.startsWith("bunho_pass="));
    expect(kept).toHaveLength(1);
    expect(kept[0]).toContain(good);
    expect(kept[0]).toMatch(/; Path=\/; HttpOnly; SameSite=Lax$/);
    // One that is not good is not kept, nor taken along to the waiting page, and a cookie does not hide it.
    const bad = await get(`/shop/hat?size=m&pass=${good}x&b=2`, { ...person, ...cookie(good) });
    expect(bad.status).toBe(302);
    expect(bad.headers["set-cookie"]).toBeUndefined();
    expect(wayBack(bad)).toBe("/shop/hat?size=m&b=2");
  });

  test("no bad pass enters", async () => {
    const other = (await joined(bunho, "other")) ?? "";
    for (const [what, pass] of Object.entries(badPasses(bunho, good, other))) {
      const answer = await refused("/shop/hat", cookie(pass));
      expect(answer.status, what).toBe(what === "of another zone" ? 403 : 401);
      expect(JSON.parse(answer.text), what).toMatchObject({ code: "pass_invalid" });
      expect((await refused("/shop/hat", { "bunho-pass": pass })).status, what).toBe(answer.status);
      if (proxy.can.query) expect((await refused(`/shop/hat?pass=${pass}`, {})).status, what).toBe(answer.status);
      expect((await get("/shop/hat", { ...person, ...cookie(pass) })).status, what).toBe(302);
    }
  });

  test("what a client says of zones and users is not believed", async () => {
    const other = (await joined(bunho, "other")) ?? "";
    // The zone of one's own choice, in every place where Bunho would look.
    for (const path of ["/shop/hat", "/shop/hat?zone=other"]) {
      const answer = await refused(path, { ...cookie(other), "x-bunho-zone": "other", "x-original-uri": "/", "x-forwarded-uri": "/", "x-forwarded-method": "OPTIONS" });
      expect(answer.status).toBe(403);
    }
    const entered = await get("/shop/hat?zone=other", { ...cookie(good), "x-bunho-zone": "other", "x-bunho-user": "somebody", "x-forwarded-for": "6.6.6.6" });
    expect(entered.status).toBe(200);
    const headers = site.seen.at(-1)?.headers ?? {};
    expect(headers["x-bunho-zone"] ?? "").not.toBe("other");
    expect(headers["x-bunho-user"] ?? "").toBe("");
    expect(String(headers["x-forwarded-for"]).split(",").at(0)).not.toBe("6.6.6.6");
    // The waiting page's calls carry no user, either.
    expect((await get("/zones/shop/status", { "x-bunho-user": "somebody" })).status).toBe(200);
  });

  test("no spelling of a path goes around the check", async () => {
    const spellings = [
      "/%73hop/hat",
      "/shop/%68at",
      "//shop/hat",
      "/./shop/hat",
      "/a/../shop/hat",
      "/a/%2e%2e/shop/hat",
      "/shop//hat",
      "/shop%2fhat",
      "/a/..%2fshop/hat",
      "/a/..%2Fshop/hat",
      "/wait/../shop/hat",
      "/wait/%2e%2e/shop/hat",
      "/traffic/..%2f..%2fshop/hat",
    ];
    for (const path of spellings) {
      const seen = site.seen.length;
      const answer = await get(path, machine);
      expect(answer.status, path).not.toBe(200);
      expect(site.seen.length, path).toBe(seen);
    }
  });

  test("the way back survives whatever is in it", async () => {
    for (const path of [
      "/shop/hat?a=1&b=2&c=x%26y",
      "/shop/%EB%AA%A8%EC%9E%90%20m?q=a+b%2Bc&r=100%25",
      "/shop/?next=/shop/a?b=c&return_to=//evil.example/",
      "/shop/a;b,c=d/~e?f[]=1&g='2'",
      "/shop/x?only",
      "/shop/hat?a=1?b=2",
    ]) {
      const answer = await get(path, person);
      expect(answer.status, path).toBe(302);
      // As far as a path may be written in several ways, the same path.
      expect(decodePath(wayBack(answer) ?? ""), path).toBe(decodePath(path));
    }
    // Never another host's.
    for (const path of ["//evil.example/../shop/hat", "/\\evil.example/../shop/hat", "/shop/..//evil.example/..//shop/hat"]) {
      const answer = await get(path, person);
      const back = wayBack(answer) ?? "/";
      expect(new URL(back, "http://site").host, path).toBe("site");
    }
  });

  test("of Bunho only the waiting page's calls are to be reached", async () => {
    expect((await get("/zones/shop/status", {})).status).toBe(200);
    expect(JSON.parse((await get("/.well-known/jwks.json", {})).text)).toHaveProperty("keys");
    const joining = await get("/traffic/wait", { "content-type": "application/json" }, { method: "POST", body: `{"zoneId":"shop","clientIp":"127.0.0.1","clientAgent":"WEB"}` });
    expect(JSON.parse(joining.text)).toMatchObject({ canEnter: true });
    const key = { authorization: "Bearer bk_admin-key-for-page-tests" };
    for (const path of ["/admin/api/zones", "/metrics", "/v1/offers", "/verify?zone=shop", "/wait/../admin/api/zones", "/wait/%2e%2e/admin/api/zones", "/wait/..%2fadmin/api/zones", "/traffic/..%2f..%2fadmin/api/zones"]) {
      const answer = await get(path, key);
      // The site's own answer, or none: never Bunho's.
      if (answer.status === 200) expect(answer.text, path).toContain("The shop");
      expect(answer.text, path).not.toContain("entry_limit_per_minute");
    }
  });

  test("a stream of events comes through while it is open", async () => {
    await zone("slow", { entry_limit_per_minute: 0 });
    const { token } = (await bunho.call("POST", "/traffic/wait", { zoneId: "slow", clientIp: "127.0.0.1", clientAgent: "WEB" })) as { token: string };
    expect(await firstLine(running.port, `/traffic/stream?zoneId=slow&token=${token}`)).toMatch(/^event: waiting/);
  });

  test("what the site refuses itself stays its own", async () => {
    for (const [path, status] of [["/shop/login", 401], ["/shop/broken", 500]] as const) {
      for (const accept of [person, machine]) {
        const answer = await get(path, { ...accept, ...cookie(good) });
        expect(answer.status, path).toBe(status);
        expect(answer.text, path).toContain("The shop");
      }
    }
  });

  test("of a crowd of 200 those get in whom the line let in", async () => {
    // A zone that gives 60 of them a pass within this minute, and the rest a place in the line.
    await zone("shop", { entry_limit_per_minute: 60 });
    await bunho.admin("POST", "/zones/shop/reset");
    const passes = await Promise.all(Array.from({ length: 200 }, () => joined(bunho, "shop")));
    const held = passes.filter((pass) => pass !== undefined).length;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(60);
    const seen = site.seen.length;
    const answers = await Promise.all(passes.map((pass, at) => get(`/shop/hat?who=${at}`, { ...person, ...(pass === undefined ? {} : cookie(pass)) })));
    // Whoever is asked in the line's place says yes to everybody.
    expect(site.seen.slice(seen).filter((request) => request.url.startsWith("/verify"))).toEqual([]);
    answers.forEach((answer, at) => expect(answer.status, `client ${at}: ${JSON.stringify(answer.headers)} ${answer.text}`).toBe(passes[at] === undefined ? 302 : 200));
    expect(site.seen.length - seen).toBe(held);
    await zone("shop", { entry_limit_per_minute: null });
    await bunho.admin("POST", "/zones/shop/reset");
  });

  test("a reset of the zone ends its passes", async () => {
    const before = (await joined(bunho, "shop")) ?? "";
    expect((await get("/shop/hat", { ...machine, ...cookie(before) })).status).toBe(200);
    await bunho.admin("POST", "/zones/shop/reset");
    expect((await refused("/shop/hat", cookie(before))).status).toBe(401);
    good = (await joined(bunho, "shop")) ?? "";
    expect((await get("/shop/hat", { ...machine, ...cookie(good) })).status).toBe(200);
  });

  test("a person waits, enters and sees the page", async ({ skip }) => {
    if ((await get("/wait/shop", person)).status === 404) skip("this program has no waiting page yet");
    const { context, page, problems } = await visitor();
    const address = `http://127.0.0.1:${running.port}/shop/hat?a=1&b=%EB%AA%A8%EC%9E%90`;
    const soon = { poll_interval_ms: 500, poll_interval_max_ms: 1_000 };
    await zone("shop", { entry_limit_per_minute: 0, ...soon });
    await page.goto(address);
    expect(new URL(page.url()).pathname).toBe("/wait/shop");
    await shot(page, `kit-${proxy.name}-wait`);
    await zone("shop", { entry_limit_per_minute: null, ...soon });
    await page.waitForURL(address, { timeout: 30_000 });
    expect(await page.textContent("h1")).toBe("The shop");
    // The cookie carries on.
    await page.goto(`http://127.0.0.1:${running.port}/shop/cart`);
    expect(await page.textContent("h1")).toBe("The shop");
    expect(problems).toEqual([]);
    await context.close();
  });

  test("fail closed: while Bunho does not answer nobody enters, and the page says when to come back", async () => {
    const { port, data } = bunho;
    await bunho.stop("SIGKILL");
    const outage = async () => {
      const seen = site.seen.length;
      const asked = Date.now();
      const shown = await get("/shop/hat", { ...person, ...cookie(good) });
      expect(shown.status).toBeOneOf(proxy.can.page ? [503] : [500, 502, 503, 504]);
      // As long as a check may take, not as long as a person waits.
      expect(Date.now() - asked).toBeLessThan(10_000);
      if (proxy.can.page) {
        expect(Number(shown.headers["retry-after"])).toBeGreaterThan(0);
        expect(shown.headers["content-type"]).toContain("text/html");
        expect(shown.headers["cache-control"]).toContain("no-store");
        expect(shown.text).toBe(readFileSync(join(root, "deploy/kit/outage.html"), "utf8"));
        const told = await get("/shop/hat", { ...machine, ...cookie(good) });
        expect(told.status).toBe(503);
        expect(Number(told.headers["retry-after"])).toBeGreaterThan(0);
        expect(JSON.parse(told.text)).toMatchObject({ status: 503, code: "overloaded" });
      }
      expect(site.seen.length).toBe(seen);
      expect((await get("/about", person)).status).toBe(200);
    };
    await outage();
    if (proxy.can.page) expect((await get("/wait/shop", person)).status).toBe(503);
    // A node that takes connections and says nothing.
    const end = await blackHole(port);
    await outage();
    await end();
    bunho = await Server.start({ data, port });
    // Passes are good as before, and so is a refusal.
    await until("the line answers again", async () => (await get("/shop/hat", { ...machine, ...cookie(good) })).status === 200);
    expect((await refused("/shop/hat", {})).status).toBe(401);
  });

  test("fail open: while Bunho does not answer the site is reached; when it answers, the line is there", async () => {
    await running.stop();
    running = await Running.start(proxy, program, site, bunho.port, "open");
    await until("the line answers", async () => (await get("/shop/hat", machine)).status === 401);
    const { port, data } = bunho;
    await bunho.stop("SIGKILL");
    await until("the outage is seen", async () => (await get("/shop/hat", person)).status === 200);
    const order = await get("/shop/order", person, { method: "POST", body: "hat=1" });
    expect(order.status).toBe(200);
    expect(site.seen.at(-1)).toMatchObject({ method: "POST", url: "/shop/order", body: "hat=1" });
    const end = await blackHole(port);
    expect((await get("/shop/hat", machine)).status).toBe(200);
    await end();
    bunho = await Server.start({ data, port });
    await until("the line is there again", async () => (await get("/shop/hat", machine)).status === 401);
  });

  test.runIf(proxy.name === "nginx")("good answers are kept for some seconds where that is asked for, and refusals never", async () => {
    await running.stop();
    running = await Running.start(proxy, program, site, bunho.port, "closed", true);
    expect((await get("/shop/hat", { ...machine, ...cookie(good) })).status).toBe(200);
    const late = (await joined(bunho, "shop")) ?? "";
    expect((await get("/shop/hat", machine)).status).toBe(401);
    const { port, data } = bunho;
    await bunho.stop("SIGKILL");
    expect((await get("/shop/hat", { ...machine, ...cookie(good) })).status, "kept").toBe(200);
    expect((await get("/shop/hat", { ...machine, ...cookie(late) })).status, "not asked before").toBe(503);
    expect((await get("/shop/hat", machine)).status, "no pass").toBe(503);
    await until("it is not kept for long", async () => (await get("/shop/hat", { ...machine, ...cookie(good) })).status === 503, 10_000);
    bunho = await Server.start({ data, port });
  });
});

test("the page of an outage is fit to be seen", async () => {
  const page = readFileSync(join(root, "deploy/kit/outage.html"), "utf8").replace(/<meta http-equiv="refresh"[^>]*>/, "");
  for (const [name, options] of Object.entries({
    phone: { viewport: { width: 375, height: 700 }, colorScheme: "light" },
    desk: { viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
  } as const)) {
    const visit = await visitor(options);
    await visit.page.setContent(page);
    await shot(visit.page, `kit-outage-${name}`);
    expect(await violations(visit.page)).toEqual([]);
    await visit.context.close();
  }
  await closeBrowser();
});

/** One spelling for all: unreserved letters decoded, dots and doubled slashes of the path kept as the URL standard has them. */
function decodePath(path: string): string {
  const [before = "", ...after] = path.split("?");
  return [before.replace(/%(7E|2D|2E|5F)/gi, (code) => decodeURIComponent(code)), ...after].join("?");
}
