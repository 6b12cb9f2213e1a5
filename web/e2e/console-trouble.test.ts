// When things go wrong: two operators at once, a session that ends, a server that goes away, texts that want to be markup.
import { afterAll, beforeAll, expect, test } from "vitest";
import { go, operator, seen, serviceKey, sideways } from "./console.ts";
import { ADMIN_KEY, closeBrowser, Server, shot, until } from "./harness.ts";

let server: Server;
const zone = { name: "Checkout", entry_limit_per_minute: 300 };
beforeAll(async () => {
  server = await Server.start();
  await server.admin("PUT", "/zones/checkout", zone);
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

const WIDE = { viewport: { width: 1440, height: 1000 } };

test("two operators at once: what the other one did is shown, and both changes can stand", async () => {
  const one = await operator(server, WIDE);
  const two = await operator(server, WIDE);
  await go(server, one.page, "#/zones/checkout");
  await go(server, two.page, "#/zones/checkout");
  await one.page.getByLabel("Limit per minute").fill("600");
  await one.page.getByLabel("Message", { exact: true }).fill("Ours");
  await one.page.getByRole("button", { name: "See what it will do" }).click();

  await two.page.getByLabel("Limit per minute").fill("900");
  await two.page.getByLabel("Name", { exact: true }).fill("Checkout 2");
  await two.page.getByRole("button", { name: "See what it will do" }).click();
  await two.page.getByRole("dialog").getByRole("button", { name: "Apply" }).click();
  await seen(two.page, "Changed.");

  await one.page.getByRole("dialog").getByRole("button", { name: "Apply" }).click();
  await one.page.getByRole("heading", { name: "Two changes at once" }).waitFor();
  const dialog = one.page.getByRole("dialog");
  const limit = dialog.getByRole("group", { name: "Limit per minute" });
  expect(await limit.innerText()).toMatch(/300[\s\S]*900[\s\S]*600/);
  await shot(one.page, "console-conflict");
  await limit.getByLabel(/Yours/).check();
  await dialog.getByRole("button", { name: "Merge and see what it will do" }).click();
  await one.page.getByRole("dialog").getByRole("button", { name: "Apply" }).click();
  await seen(one.page, "Changed.");
  const now = await server.admin<Record<string, unknown>>("GET", "/zones/checkout");
  expect([now["entry_limit_per_minute"], now["message"], now["name"]]).toEqual([600, "Ours", "Checkout 2"]);
  await server.admin("PUT", "/zones/checkout", zone);
  for (const { context, problems } of [one, two]) {
    expect(problems).toEqual([]);
    await context.close();
  }
});

test("a session that ends under an open page keeps what was typed, and is opened again in place", async () => {
  const { context, page, problems } = await operator(server, WIDE);
  await go(server, page, "#/zones/checkout");
  await page.getByLabel("Message", { exact: true }).fill("Half a sen");
  const { sessions } = await server.admin<{ sessions: { id: string }[] }>("GET", "/sessions");
  for (const { id } of sessions) await server.admin("DELETE", `/sessions/${id}`);
  await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
  await seen(page, "What you typed is still here.");
  await shot(page, "console-session-ended");
  await page.keyboard.press("Escape");
  // Who came with a key is asked for a key.
  await page.getByRole("dialog").getByLabel("Key", { exact: true }).fill(ADMIN_KEY);
  await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await page.getByLabel("Message", { exact: true }).inputValue()).toBe("Half a sen");
  // Also another page and back again loses nothing.
  await page.getByRole("link", { name: "System" }).click();
  await page.getByRole("heading", { name: "System" }).waitFor();
  await page.goBack();
  await until("it is there", async () => (await page.getByLabel("Message", { exact: true }).inputValue()) === "Half a sen");
  await page.getByRole("button", { name: "Drop changes" }).click();
  expect(await page.getByLabel("Message", { exact: true }).inputValue()).toBe("");
  expect(problems).toEqual([]);
  await context.close();
});

test("a server that is killed and comes back", async () => {
  const { context, page } = await operator(server, WIDE);
  await go(server, page, "#/zones/checkout");
  await page.getByLabel("Limit per minute").fill("450");
  const { data, port } = server;
  await server.stop("SIGKILL");
  await seen(page, "No connection to Bunho.");
  await shot(page, "console-lost");
  await page.getByRole("button", { name: "See what it will do" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Apply" }).click();
  await seen(page, "Bunho does not answer.");
  server = await Server.start({ data, port });
  await until("the connection is back", async () => !(await page.locator("body").innerText()).includes("No connection to Bunho."), 30_000);
  if (await page.getByRole("heading", { name: "Your session has ended" }).isVisible()) throw new Error("sessions live in the ledger");
  expect(await page.getByLabel("Limit per minute").inputValue()).toBe("450");
  await page.getByRole("button", { name: "See what it will do" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Apply" }).click();
  await seen(page, "Changed.");
  await context.close();
});

test("hostile texts are texts", async () => {
  const markup = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
  const rtl = "\u202Eمرحبا بالعالم غرفة الانتظار\u202C";
  await server.admin("PUT", "/zones/hostile", { name: markup, message: markup, entry_limit_per_minute: 5 });
  await server.admin("PUT", "/zones/rtl", { name: rtl + "😀".repeat(50), entry_limit_per_minute: 5 });
  await server.admin("PUT", "/zones/long", { name: "w".repeat(200), entry_limit_per_minute: 5 });
  await server.admin("PUT", "/offers/hostile", { name: markup, kind: "goods", quantity: 10, hold_seconds: 0 });
  const key = await serviceKey(server);
  const user = Array.from(new TextEncoder().encode("👩‍👩‍👧‍👦🎟️" + "한".repeat(30)), (byte) => String.fromCharCode(byte)).join("");
  const claim = (await server.call("POST", "/v1/offers/hostile/claims", { quantity: 1, attributes: { [markup]: markup, deep: { a: [markup] } } }, { authorization: `Bearer ${key}`, "x-bunho-user": user })) as { id: string };
  for (const width of [375, 1440]) {
    const { context, page, problems } = await operator(server, { viewport: { width, height: 900 } });
    for (const hash of ["#/", "#/zones/hostile", "#/zones/rtl", "#/zones/long", "#/zones/hostile/look", "#/offers/hostile", "#/offers/hostile/claims", `#/claims/${claim.id}`, "#/audit", `#/zones/${encodeURIComponent(markup)}`]) {
      await go(server, page, hash);
      await page.waitForLoadState("networkidle").catch(() => undefined);
      await page.locator(".skeleton").waitFor({ state: "detached" });
      expect(await page.evaluate(() => (globalThis as unknown as { hacked?: number }).hacked), hash).toBeUndefined();
      expect(await sideways(page), `${hash} at ${width}`).toBeLessThanOrEqual(0);
      await shot(page, `console-hostile-${width}-${hash.replace(/\W+/g, "_").slice(0, 40)}`);
    }
    expect(problems).toEqual([]);
    await context.close();
  }
  // A name of 10,000 characters is told to be too long before anything is sent, and stays to be mended.
  const { context, page } = await operator(server, WIDE);
  await go(server, page, "#/zones/hostile");
  await page.getByLabel("Name", { exact: true }).fill("n".repeat(10_000));
  await seen(page, "10,000 characters; 200 at most.");
  expect(await page.getByRole("button", { name: "See what it will do" }).isDisabled()).toBe(true);
  await context.close();
});
