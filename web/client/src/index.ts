// Wait in a line, claim what is limited. Free functions, so that a page carries only what it calls.
export { NoAnswer, Problem, mayPass, type ProblemCode } from "./problem.ts";
export type { Server } from "./http.ts";
export { backOffMs, pollMs } from "./pace.ts";
export {
  admitted,
  join,
  leave,
  poll,
  randomKey,
  wait,
  type Admitted,
  type CallOptions,
  type Entry,
  type JoinOptions,
  type LineState,
  type Place,
  type WaitOptions,
  type Waiting,
} from "./line.ts";
export {
  claim,
  claims,
  confirm,
  leaveStandby,
  offer,
  offers,
  readClaim,
  readStandby,
  release,
  standby,
  type Claim,
  type ClaimOptions,
  type Offer,
  type RetryOptions,
  type Standby,
  type Stock,
  type Taken,
} from "./offers.ts";
export { solve } from "./work.ts";
export { stock } from "./stock.ts";
