// What the console's tests share: signing in, a crowd that waits, and looking at a page.
import type { BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { ADMIN_KEY, type Server, until, visitor } from "./harness.ts";

export interface Operator {
  context: BrowserContext;
  page: Page;
  problems: string[];
}

/** A browser with an open session, by the admin key or as somebody with a name and a password. */
export async function operator(server: Server, options: BrowserContextOptions = {}, credentials: object = { key: ADMIN_KEY }): Promise<Operator> {
  const person = await visitor(options);
  const answer = await person.context.request.post(`${server.url}/admin/api/session`, { data: credentials });
  if (answer.status() !== 201) throw new Error(`signing in: ${answer.status()} ${await answer.text()}`);
  return person;
}

export async function go(server: Server, page: Page, hash: string): Promise<void> {
  await page.goto(`${server.url}/${hash}`);
  await page.locator("h1").first().waitFor();
}

/** Whether the page is wider than its window. */
export async function sideways(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

interface Answer {
  canEnter: boolean;
  token: string;
  waiting?: { pollingPeriod: number };
}

/** People who wait in a zone and ask when they are told to, until they are in or the crowd is sent home. */
export class Crowd {
  entered = 0;
  private going = true;
  private readonly people: Promise<void>[] = [];

  private constructor(
    private readonly server: Server,
    private readonly zone: string,
  ) {}

  static async come(server: Server, zone: string, people: number): Promise<Crowd> {
    const crowd = new Crowd(server, zone);
    for (let come = 0; come < people; come += 25) {
      const first = await Promise.all(Array.from({ length: Math.min(25, people - come) }, () => crowd.ask("wait", { clientIp: "127.0.0.1", clientAgent: "WEB" })));
      crowd.people.push(...first.map((answer) => crowd.person(answer)));
    }
    return crowd;
  }

  async goHome(): Promise<void> {
    this.going = false;
    await Promise.all(this.people);
  }

  private async person(answer: Answer): Promise<void> {
    let last = answer;
    while (!last.canEnter) {
      const end = Date.now() + (last.waiting?.pollingPeriod ?? 1_000);
      while (this.going && Date.now() < end) await new Promise((done) => setTimeout(done, Math.min(200, end - Date.now())));
      if (!this.going) return;
      last = await this.ask("entry", { token: last.token }).catch(() => last);
    }
    this.entered += 1;
  }

  private async ask(call: "wait" | "entry", body: object): Promise<Answer> {
    return (await this.server.call("POST", `/traffic/${call}`, { zoneId: this.zone, ...body })) as Answer;
  }
}

/** A claim of a user, confirmed. */
export async function bought(server: Server, key: string, offer: string, user: string, attributes: object = {}): Promise<string> {
  const headers = { authorization: `Bearer ${key}`, "x-bunho-user": user };
  const claim = (await server.call("POST", `/v1/offers/${offer}/claims`, { quantity: 1, attributes }, headers)) as { id: string };
  await server.call("POST", `/v1/claims/${claim.id}/confirm`, undefined, headers);
  return claim.id;
}

export async function serviceKey(server: Server): Promise<string> {
  return (await server.admin<{ key: string }>("POST", "/keys", { role: "service", name: "shop" })).key;
}

/** The number in a figure of the page. */
export async function figure(page: Page, name: string): Promise<number> {
  const text = await page.locator(".figure", { has: page.locator("dt", { hasText: new RegExp(`^${name}$`) }) }).locator("dd").first().innerText();
  return Number(/[\d,]+/.exec(text)?.[0].replace(/,/g, "") ?? Number.NaN);
}

export async function seen(page: Page, text: string | RegExp): Promise<void> {
  await until(`the page says ${String(text)}`, async () => {
    const words = await page.locator("body").innerText();
    return typeof text === "string" ? words.includes(text) : text.test(words);
  });
}
