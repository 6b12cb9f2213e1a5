// Asks verify.mjs about each line "zone pass" and prints yes or no.
import { createInterface } from "node:readline";
import { verify } from "./verify.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const [zone, pass] = line.split(" ");
  const said = await verify(pass, zone).then((claims) => `yes ${claims.sub}`, () => "no");
  console.log(said);
}
