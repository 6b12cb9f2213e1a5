// An operator's day, from signing in to the audit log, in a real browser against the real program.
import { afterAll, beforeAll, expect, test } from "vitest";
import { bought, Crowd, figure, go, operator, seen, serviceKey } from "./console.ts";
import { ADMIN_KEY, closeBrowser, Server, shot, until, visitor } from "./harness.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

test("signing in, by hand, and a wrong key is told apart from nothing", async () => {
  const { context, page, problems } = await visitor();
  await page.goto(server.url);
  await page.getByRole("button", { name: "Key" }).click();
  await page.getByLabel("Key", { exact: true }).fill("bk_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await seen(page, "That is not right.");
  await shot(page, "console-signin-wrong");
  await page.getByLabel("Key", { exact: true }).fill(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Now" }).waitFor();
  await seen(page, "Admin");
  // A new installation teaches how to begin.
  await seen(page, "No zones yet. The first one takes a minute.");
  await shot(page, "console-now-empty");
  await page.locator(".me-button").click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Bunho console" }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("the first zone and the first offer are made in their forms", async () => {
  const { context, page, problems } = await operator(server);
  await go(server, page, "#/");
  await page.getByRole("link", { name: "New zone" }).first().click();
  await page.getByLabel("Id", { exact: true }).fill("checkout");
  await page.getByLabel("Limit per minute").fill("30");
  await page.getByLabel("Asks every, at the front").evaluate((input) => input.closest("details")?.setAttribute("open", ""));
  await page.getByLabel("Asks every, at the front").fill("1000");
  await page.getByLabel("Name", { exact: true }).fill("Checkout");
  await seen(page, "Nobody waits; up to 30 people a minute get in without waiting.");
  await page.getByRole("button", { name: "Make the zone" }).click();
  await page.getByRole("heading", { name: /Checkout/ }).waitFor();
  await go(server, page, "#/new/offer");
  await page.getByRole("button", { name: "Make the offer" }).click();
  await seen(page, "Letters, digits and _ . : - only, 1 to 64.");
  await page.getByLabel("Id", { exact: true }).fill("shoes");
  await page.getByLabel("Quantity").fill("50");
  await page.getByLabel("Keep a standby").check();
  await page.getByRole("button", { name: "Make the offer" }).click();
  await page.getByRole("heading", { name: /shoes/ }).waitFor();
  expect(await figure(page, "Remaining")).toBe(50);
  expect(problems).toEqual([]);
  await context.close();
});

test("with 200 waiting: a limit is changed after reading what it will do, the chart moves, the line is paused and resumed, the change undone", { timeout: 150_000 }, async () => {
  const crowd = await Crowd.come(server, "checkout", 200);
  const { context, page, problems } = await operator(server, { viewport: { width: 1440, height: 1000 } });
  await go(server, page, "#/");
  await page.getByPlaceholder(/Search/).fill("check");
  await page.getByRole("link", { name: /Checkout/ }).click();
  await until("the crowd is seen", async () => (await figure(page, "Waiting")) > 100);
  const before = await figure(page, "Waiting");

  await page.getByLabel("Limit per minute").fill("600");
  await page.getByRole("button", { name: "See what it will do" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(/^At 600 a minute, the \d+ waiting are in by (\d+ \w+ )?\d\d:\d\d/).waitFor();
  await dialog.getByText("sooner than now").waitFor();
  await shot(page, "console-preview");
  await dialog.getByRole("button", { name: "Apply" }).click();
  await seen(page, "Changed.");
  await until("more get in", async () => (await figure(page, "Waiting")) < before - 20);
  // So that somebody waits however long it takes until the line is paused.
  const behind = await Crowd.come(server, "checkout", 200);
  const bars = page.getByRole("img", { name: /^Entered per 6 s/ });
  await until("the chart moved", async () => /Entered [1-9]\d*, Slot's quota 60/.test((await bars.getAttribute("aria-label")) ?? ""));
  await shot(page, "console-zone-live");

  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("dialog").getByText(/Nobody gets in until you resume/).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.locator(".figure .state-paused").waitFor();
  const held = await figure(page, "Waiting");
  expect(held).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await page.locator(".figure .state-waiting").waitFor();

  await page.getByRole("button", { name: "Message" }).click();
  await page.getByRole("dialog").getByLabel("Message", { exact: true }).fill("Two more minutes. 조금만 기다려 주세요.");
  await page.getByRole("button", { name: "Show it" }).click();
  await seen(page, "Those who wait read: Two more minutes. 조금만 기다려 주세요.");

  await until("the message can be undone", async () => {
    await page.getByRole("button", { name: "Undo last change" }).click();
    const found = await page.getByRole("dialog").getByText("The message goes away.").isVisible();
    if (!found) await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    return found;
  });
  await page.getByRole("dialog").getByRole("button", { name: "Undo", exact: true }).click();
  await page.locator(".message").waitFor({ state: "detached" });
  await until("all are in", () => crowd.entered === 200, 40_000);
  await Promise.all([crowd.goHome(), behind.goHome()]);

  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("link", { name: "Download CSV" }).waitFor();
  const csv = await page.request.get(new URL((await page.getByRole("link", { name: "Download CSV" }).getAttribute("href")) ?? "", server.url).href);
  expect(csv.headers()["content-type"]).toContain("text/csv");
  expect(problems).toEqual([]);
  await context.close();
});

test("a claim is found, returned, and stands in the audit log", async () => {
  const key = await serviceKey(server);
  const users = ["anna", "🎟️ 민수 <b>x</b>"];
  for (const user of users) await bought(server, key, "shoes", encodeHeader(user), { size: 42, note: "<script>document.title='hacked'</script>" });
  const { context, page, problems } = await operator(server, { viewport: { width: 1440, height: 1000 } });
  await go(server, page, "#/offers/shoes");
  await until("the stock is seen", async () => (await figure(page, "Confirmed")) === 2);
  // Live: nobody reloads.
  await bought(server, key, "shoes", "berta");
  await until("the stream tells", async () => (await figure(page, "Confirmed")) === 3);
  await shot(page, "console-offer-live");

  await page.getByRole("link", { name: "Claims" }).first().click();
  await page.getByPlaceholder(/User, exactly/).fill("anna");
  await page.getByRole("link", { name: "anna" }).click();
  await page.getByRole("heading", { name: /Claim [0-9a-f]/ }).waitFor();
  await seen(page, "<script>document.title='hacked'</script>");
  expect(await page.title()).not.toContain("hacked");
  await page.getByRole("button", { name: "Take back" }).click();
  await page.getByRole("dialog").getByText("One unit can be claimed again.").waitFor();
  await shot(page, "console-claim-return");
  await page.getByRole("dialog").getByRole("button", { name: "Take back" }).click();
  await until("it is returned", async () => (await page.locator(".history li").count()) === 3);
  await page.getByRole("button", { name: "Take back" }).waitFor({ state: "detached" });

  await go(server, page, "#/offers/shoes");
  await page.getByRole("button", { name: "Restock" }).click();
  await page.getByLabel("Units to add").fill("-100");
  await page.getByRole("dialog").getByText(/Not possible/).waitFor();
  expect(await page.getByRole("dialog").getByRole("button", { name: "Restock" }).isDisabled()).toBe(true);
  await page.getByLabel("Units to add").fill("10");
  await page.getByRole("dialog").getByText("The quantity goes from 50 to 60.").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Restock" }).click();
  await until("there are more", async () => (await figure(page, "Remaining")) === 58);
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByRole("dialog").getByText("Nobody can claim any more, from now on.").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Close", exact: true }).last().click();
  await page.locator(".figure .state-closed").waitFor();

  await go(server, page, "#/audit");
  for (const said of ["Claim taken back", "Offer restocked", "Offer closed", "Zone paused", "Zone's settings", "Key made"]) await seen(page, said);
  await seen(page, /Quantity\s*50\s*→\s*60/);
  await page.getByPlaceholder(/Of what/).fill("checkout");
  await until("it is filtered", async () => !(await page.locator("body").innerText()).includes("Claim taken back"));
  await seen(page, /Limit per minute\s*30\s*→\s*600/);
  await shot(page, "console-audit");
  expect(problems).toEqual([]);
  await context.close();
});

test("the waiting page is made one's own, and seen before it is saved", async () => {
  const { context, page, problems } = await operator(server, { viewport: { width: 1440, height: 1000 } });
  await go(server, page, "#/zones/checkout/look");
  const preview = page.frameLocator("iframe.preview-frame");
  await preview.locator("h1").waitFor();
  await page.getByLabel("English", { exact: true }).fill("Autumn <b>drop</b>");
  await preview.getByText("Autumn <b>drop</b>").waitFor();
  await page.getByLabel("Own colours").check();
  await page.getByLabel("Mark").fill("#0a5c36");
  await page.getByLabel("State to show").selectOption("paused");
  await until("its colour is seen", async () => (await preview.locator("html").evaluate((root) => getComputedStyle(root).getPropertyValue("--mark").trim())) === "#0a5c36");
  const logo = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==", "base64");
  await page.locator("input[type=file]").setInputFiles({ name: "logo.gif", mimeType: "image/gif", buffer: logo });
  await seen(page, "Only PNG, JPEG and WebP.");
  await page.locator("input[type=file]").setInputFiles({ name: "logo.png", mimeType: "image/png", buffer: logo });
  await page.getByLabel(/Allowed beginnings/).fill("https://shop.example/\n/checkout");
  await shot(page, "console-look");
  await page.getByRole("button", { name: "Save" }).click();
  await seen(page, "Changed.");
  const saved = await server.admin<{ title: object; colors: { mark: string }; return_to: string[]; logo: string }>("GET", "/zones/checkout/page");
  expect([saved.title, saved.colors.mark, saved.return_to]).toEqual([{ en: "Autumn <b>drop</b>" }, "#0a5c36", ["https://shop.example/", "/checkout"]]);
  expect(saved.logo).toMatch(/^data:image\/png;base64,/);
  await page.reload();
  await until("it is there again", async () => (await page.getByLabel("English", { exact: true }).inputValue()) === "Autumn <b>drop</b>");
  expect(problems).toEqual([]);
  await context.close();
});

test("a viewer sees everything and is offered nothing", async () => {
  const { password } = await server.admin<{ password: string }>("POST", "/accounts", { name: "vera", role: "viewer" });
  const { context, page, problems } = await visitor({ viewport: { width: 1440, height: 1000 } });
  await page.goto(`${server.url}/#/zones/checkout`);
  await page.getByLabel("Name").fill("vera");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: /Checkout/ }).waitFor();
  await seen(page, "Your role may look at this and not change it.");
  for (const name of ["Pause", "Message", "Reset", "Delete", "See what it will do", "Undo last change"]) expect(await page.getByRole("button", { name }).count(), name).toBe(0);
  expect(await page.getByLabel("Limit per minute").isDisabled()).toBe(true);
  await go(server, page, "#/");
  expect(await page.getByRole("link", { name: "New zone" }).count()).toBe(0);
  await go(server, page, "#/access/keys");
  expect(await page.getByRole("link", { name: "Keys" }).count()).toBe(0);
  await seen(page, "Sees everything, changes nothing.");
  const refused = await page.evaluate(async () => (await fetch("/admin/api/zones/checkout/pause", { method: "POST", headers: { "x-requested-with": "bunho" } })).status);
  expect(refused).toBe(403);
  expect(problems).toEqual([]);
  await context.close();
});

test("accounts, keys and sessions are made and ended", async () => {
  const { context, page, problems } = await operator(server);
  await go(server, page, "#/access/accounts");
  await page.getByRole("button", { name: "New account" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("oskar");
  await page.getByRole("dialog").getByRole("button", { name: "Make the account" }).click();
  await page.getByRole("heading", { name: "Password of oskar" }).waitFor();
  const password = await page.locator(".once code").innerText();
  expect(password.length).toBeGreaterThanOrEqual(10);
  await page.getByRole("button", { name: "I have it" }).click();
  await page.getByRole("button", { name: "Change role: oskar" }).waitFor();
  await shot(page, "console-accounts");

  const other = await operator(server, {}, { name: "oskar", password });
  await go(server, other.page, "#/access/me");
  await other.page.getByRole("button", { name: "Set up" }).click();
  await other.page.getByRole("img", { name: "QR code of the secret" }).waitFor();
  await shot(other.page, "console-totp");
  await other.page.getByRole("textbox", { name: "Code" }).fill(await codeOf(await other.page.locator(".once code").innerText()));
  await other.page.getByRole("button", { name: "Turn on" }).click();
  await seen(other.page, "On: signing in asks for a code from your authenticator.");

  await page.getByRole("button", { name: "Disable: oskar" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
  await seen(page, "Disabled");
  await go(server, other.page, "#/system");
  await other.page.getByRole("heading", { name: /Your session has ended|Bunho console/ }).waitFor();
  await other.context.close();

  await page.getByRole("link", { name: "Keys" }).click();
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("What it is for").fill("till");
  await page.getByRole("dialog").getByRole("button", { name: "Make the key" }).click();
  await page.getByRole("heading", { name: "Key “till”" }).waitFor();
  await page.getByRole("button", { name: "I have it" }).click();
  await page.getByRole("button", { name: "Revoke: till" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("button", { name: "Revoke: till" }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Make a new one" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Make a new one" }).click();
  await until("there are two pass keys", async () => (await page.getByText("verifies only").count()) === 1);
  await page.getByRole("link", { name: "Sessions" }).click();
  await seen(page, "this one");
  expect(problems).toEqual([]);
  await context.close();
});

/** Headers carry bytes; fetch takes each as one character. */
function encodeHeader(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** What an authenticator shows now (RFC 6238, SHA-1, six digits). */
async function codeOf(secret: string): Promise<string> {
  const bits = Array.from(secret.replace(/[\s=]/g, ""), (letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const bytes = Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-1" }, false, ["sign"]);
  const counter = new DataView(new ArrayBuffer(8));
  counter.setBigUint64(0, BigInt(Math.floor(Date.now() / 30_000)));
  const hash = new DataView(await crypto.subtle.sign("HMAC", key, counter.buffer));
  const at = hash.getUint8(19) & 15;
  return String((hash.getUint32(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
