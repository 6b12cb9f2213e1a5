// What can go wrong, as two errors: the server refused (a problem with a stable code), or there was no answer.

/** Codes that the server gives, and whatever a later one adds. */
export type ProblemCode =
  | "invalid_request"
  | "quantity_invalid"
  | "unauthenticated"
  | "ticket_invalid"
  | "challenge_required"
  | "enqueue_token_required"
  | "enqueue_token_invalid"
  | "forbidden"
  | "pass_required"
  | "pass_invalid"
  | "pass_used"
  | "unknown_offer"
  | "unknown_claim"
  | "unknown_standby"
  | "unknown_zone"
  | "not_open"
  | "closed"
  | "sold_out"
  | "limit_reached"
  | "not_held"
  | "deadline_passed"
  | "no_standby"
  | "ticket_gone"
  | "key_reused"
  | "too_fast"
  | "overloaded"
  | "suspended"
  | "recovering"
  | "indeterminate"
  | (string & {});

/** The server's refusal (RFC 9457). `fields` has what a code adds: `claims` with `limit_reached`, `standby_possible` with `sold_out`. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly code: ProblemCode,
    detail: string,
    /** When the server said to come back, in milliseconds. */
    readonly retryAfterMs: number | undefined,
    readonly fields: Readonly<Record<string, unknown>>,
  ) {
    super(detail);
  }

  /** Names the request in the server's log. */
  get requestId(): string | undefined {
    const id = this.fields["request_id"];
    return typeof id === "string" ? id : undefined;
  }
}

/** No answer came: the network is away, the server is, or it took too long. Whether something happened is not known. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";
}

/** Whether an error says that asking again may help. What is refused for another reason stays refused. */
export function mayPass(error: unknown): error is Problem | NoAnswer {
  return error instanceof NoAnswer || (error instanceof Problem && (error.status >= 500 || error.status === 429 || error.status === 408));
}
