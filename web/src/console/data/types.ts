// What the administration API says, as far as the console reads it. The server's /openapi.json is the whole of it.

export type Role = "viewer" | "operator" | "admin";

export interface Who {
  id: string;
  kind?: "account" | "key";
  role: Role;
  name: string;
  totp?: boolean;
  expires_at?: string | null;
}

export type ZoneState = "waiting" | "not_open" | "paused" | "closed" | "sold_out" | "recovering";
export type OfferState = "not_open" | "open" | "sold_out" | "closed" | "suspended";
export type ClaimStatus = "held" | "confirmed" | "released" | "expired" | "returned";

/** What an operator may say of a zone. */
export interface ZoneSettings {
  app: string;
  name: string;
  entry_limit_per_minute: number | null;
  window_seconds: number;
  slot_seconds: number;
  abandon_after_seconds: number;
  resume_grace_seconds: number;
  poll_interval_ms: number;
  poll_interval_max_ms: number;
  opens_at: string | null;
  closes_at: string | null;
  active_limit: number | null;
  session_seconds: number;
  pass_ttl_seconds: number;
  offer: string | null;
  message: string | null;
  challenge_bits: number;
  enqueue: "open" | "token";
  pass_bound: boolean;
}

export interface Zone extends ZoneSettings {
  id: string;
  paused: boolean;
  revision: number;
  epoch: number;
  state: ZoneState;
  waiting: number;
  entered_last_minute: number;
  estimated_seconds: number | null;
  active: number;
}

export interface ZoneMinute {
  minute: string;
  entered: number;
  waiting: number;
  dropped?: number;
  entry_limit?: number | null;
}

export interface ZoneLive extends Zone {
  now: string;
  slot_quota: number | null;
  slots: { at: string; entered: number; waiting: number; left: number }[];
  eta: { at: string; told: number; kept: number }[];
}

/** What an operator may say of an offer. */
export interface OfferSettings {
  app: string;
  name: string;
  kind: "coupon" | "goods" | "booking";
  quantity: number;
  per_user_limit: number | null;
  min_per_claim: number;
  max_per_claim: number;
  hold_seconds: number;
  unit_price: number;
  opens_at: string | null;
  closes_at: string | null;
  zone: string | null;
  pass_once: boolean;
  grants: string | null;
  grant_only: boolean;
  standby: boolean;
  standby_hold_seconds: number;
  confirm_by: "service" | "user";
}

export interface Stock {
  remaining: number;
  held: number;
  confirmed: number;
  standby: number;
  version: number;
  state: OfferState;
}

export interface Offer extends OfferSettings {
  id: string;
  revision: number;
  state: OfferState;
  stock: Stock;
}

/** An offer in the overview: units confirmed in each of the last minutes. */
export interface OfferRow extends Offer {
  sold: { minute: string; units: number }[];
}

export interface Overview {
  now: string;
  zones: (Zone & { minutes: ZoneMinute[] })[];
  offers: OfferRow[];
}

export interface SalesPoint {
  minute: string;
  claimed: number;
  confirmed: number;
  released: number;
  expired: number;
  returned: number;
}

export interface Claim {
  id: string;
  offer: string;
  user: string;
  quantity: number;
  status: ClaimStatus;
  version: number;
  hold_expires_at: string | null;
  created_at: string;
  updated_at: string;
  attributes: unknown;
  granted: string[];
  events?: { version: number; status: ClaimStatus; quantity: number; at: string }[];
}

export interface StandbyPlace {
  id: string;
  user: string;
  quantity: number;
  status: string;
  position: number | null;
  created_at: string;
}

export interface AuditEntry {
  id: number;
  at: string;
  actor: string;
  action: string;
  target: string;
  detail: unknown;
  before?: Record<string, unknown> | null;
  after?: Record<string, unknown> | null;
  request_id: string | null;
}

export interface SystemView {
  now: string;
  shape: string;
  version: string;
  started_at: string;
  node: string;
  nodes: { node: string; version: string; started_at: string; last_seen_at: string; self: boolean }[];
  parts: { name: string; well: boolean; detail: string | null }[];
  journal: { durable: number; backlog_bytes: number } | null;
  ledger: { projected: number; lag: number; kind: string } | null;
  parked: { count: number; events: { id: number | string; claim: string | null; offer: string | null; reason: string; at: string }[] };
  recoveries: { target: string; at: string; reason: string }[];
  findings: string[];
}

export interface Account {
  name: string;
  role: Role;
  totp: boolean;
  disabled: boolean;
  created_at: string;
  last_signed_in_at: string | null;
}

export interface SessionRow {
  id: string;
  name: string;
  role: Role;
  opened_at: string;
  expires_at: string;
  address: string | null;
  user_agent: string | null;
  current: boolean;
}

export interface KeyRow {
  id: string;
  role: Role | "service";
  name: string;
  created_at: string;
}

export interface Webhook {
  id: string;
  name: string;
  url: string;
  events: string[];
  offer: string | null;
  app: string | null;
  enabled: boolean;
  disabled_reason: string | null;
  previous_secret_until: string | null;
  revision: number;
  pending: number;
  dead: number;
  delivered: number;
  failures: number;
  last_attempt_at: string | null;
  last_status: number | null;
  last_error: string | null;
}

export interface Delivery {
  delivery: number;
  event: string;
  type: string;
  at: string;
  attempts: number;
  next_attempt_at: string | null;
  last_error: string | null;
}

/** The look of a zone's waiting page. */
export interface PageLook {
  title: Record<string, string> | null;
  logo: string | null;
  colors: { paper: string; slip: string; ink: string; mark: string } | null;
  texts: Record<string, Record<string, string>>;
  return_to: string[];
  revision: number;
}
