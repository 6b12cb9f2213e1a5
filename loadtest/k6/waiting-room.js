// A waiting room under a crowd, for k6: people join, poll as often as they are told, enter, and take one unit of what the room is for.
//
// Every iteration is a new person with a name of its own. What one person can see of the promises is checked on the way: a ticket that stays
// the same, a rank that never grows, a pass that is good, the same pass again after a lost answer, the same claim again with the same key.
// What only all of them together can see (nothing oversold, nothing lost) is compared afterwards by scripts/loadtest.sh, which starts this.
// Admissions in every window and the order of the whole line need one clock and one memory over all people; bunho-load has these.
//
//   k6 run loadtest/k6/waiting-room.js
//
// Settings, from the environment or with -e NAME=VALUE:
//
//   BASE_URL                    default http://127.0.0.1:8080
//   ZONE                        default TEST_ZONE, the one of `bunho serve --demo`
//   OFFER                       an offer whose zone this is: whoever enters claims one unit; without it people only enter
//   VUS                         people at a time, default 200
//   STAGE1_DURATION, STAGE1_TARGET … STAGE4_…   default: half of them within 10 s, all by 120 s, all for 30 s, none after 10 s more
//   PAUSE_MS                    people come up to so long after their turn, default 3000
//   LEAVE                       of those who wait, the part that goes away at a poll without a word, default 0
//   P95_MS                      the run fails when joining or polling is slower, default 500
//   SUMMARY                     a file for the figures, as JSON

import http from 'k6/http';
import exec from 'k6/execution';
import { check, group, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const text = (name, otherwise) => __ENV[name] || otherwise;
const number = (name, otherwise) => {
  const value = Number(text(name, otherwise));
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number, not ${__ENV[name]}`);
  return value;
};

const BASE_URL = text('BASE_URL', 'http://127.0.0.1:8080').replace(/\/$/, '');
const ZONE = text('ZONE', 'TEST_ZONE');
const OFFER = text('OFFER', '');
const VUS = number('VUS', 200);
const PAUSE_MS = number('PAUSE_MS', 3000);
const LEAVE = number('LEAVE', 0);
const P95_MS = number('P95_MS', 500);

// Where the server did not say: what the contract gives as the usual interval.
const POLL_MS = 3000;
// Somebody who is told so often in a row that the server is busy gives up, so that no run hangs on a server that is gone.
const TRIES_MAX = 20;
// One in so many sends the request again that has just been answered, as if the answer had been lost.
const ASKS_AGAIN = 10;

const stage = (n, duration, target) => ({
  duration: text(`STAGE${n}_DURATION`, duration),
  target: Math.round(number(`STAGE${n}_TARGET`, target)),
});

export const options = {
  scenarios: {
    crowd: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [stage(1, '10s', VUS / 2), stage(2, '110s', VUS), stage(3, '30s', VUS), stage(4, '10s', 0)],
      // Whoever still waits at the end is sent home: a line has no end of its own.
      gracefulRampDown: '5s',
      gracefulStop: '5s',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate<0.001'],
    'http_req_duration{call:wait}': [`p(95)<${P95_MS}`],
    'http_req_duration{call:entry}': [`p(95)<${P95_MS}`],
    can_enter_true_count: ['count>0'],
    gave_up_count: ['count==0'],
  },
  summaryTrendStats: ['min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
};

const waitRequests = new Counter('wait_requests_total');
const entryRequests = new Counter('entry_requests_total');
const canEnterFalse = new Counter('can_enter_false_count');
const canEnterTrue = new Counter('can_enter_true_count');
const claimsTaken = new Counter('claims_taken_count');
const claimsRefused = new Counter('claims_refused_count');
const turnedAway = new Counter('turned_away_count');
const wentAway = new Counter('went_away_count');
const gaveUp = new Counter('gave_up_count');
const secondsInLine = new Trend('seconds_in_line');
const estimateOffBy = new Trend('estimate_off_by_seconds');

const JSON_HEADERS = { accept: 'application/json', 'Content-Type': 'application/json' };
const busy = (response) => response.status === 0 || response.status === 429 || response.status === 503;

export function setup() {
  const status = http.get(`${BASE_URL}/zones/${ZONE}/status`, { tags: { call: 'setup' } });
  if (status.status !== 200) throw new Error(`${BASE_URL} has no zone ${ZONE}: ${status.status} ${status.body}`);
  // k6 does not look at the threshold of a counter that nothing was ever added to.
  canEnterTrue.add(0);
  gaveUp.add(0);
  return { run: Date.now().toString(36) };
}

export default function (data) {
  sleep((Math.random() * PAUSE_MS) / 1000);
  const person = { name: `k6-${data.run}-${exec.scenario.iterationInTest}`, token: null, rank: Infinity, estimate: null, since: Date.now() };
  person.asksAgain = exec.scenario.iterationInTest % ASKS_AGAIN === 0;

  let place = null;
  group('join', () => { place = join(person); });
  if (place && !place.canEnter) group('poll', () => { place = poll(person, place); });
  if (!place || !place.canEnter) return;

  canEnterTrue.add(1);
  const seconds = (Date.now() - person.since) / 1000;
  secondsInLine.add(seconds);
  if (person.estimate !== null) estimateOffBy.add(Math.abs(seconds - person.estimate));
  group('enter', () => enter(person, place));
  if (OFFER) group('claim', () => claim(person, place));
}

// Joins; what the server said of the place in the line, or nothing.
function join(person) {
  const body = JSON.stringify({ zoneId: ZONE, clientIp: '127.0.0.1', clientAgent: 'WEB', key: person.name });
  const place = ask('wait', body, waitRequests);
  if (place) {
    check(place, { 'joining gives a ticket': (it) => typeof it.token === 'string' && it.token.length > 0 });
    person.token = place.token;
    person.estimate = place.canEnter ? 0 : place.waiting.estimatedSeconds;
  }
  return place;
}

// Polls as often as told, until it may enter, is turned away, or goes away.
function poll(person, place) {
  while (place && !place.canEnter) {
    canEnterFalse.add(1);
    // Bound to the place of this turn of the loop.
    const { waiting, token } = place;
    check(waiting, {
      'the ticket stays the same': () => token === person.token,
      'the rank never grows': (it) => it.rank >= 1 && it.rank <= person.rank,
      'a state and an interval are given': (it) => typeof it.state === 'string' && it.pollingPeriod > 0,
      'who waits is told how long': (it) => it.state !== 'waiting' || it.estimatedSeconds >= 0,
    });
    person.rank = waiting.rank;
    if (waiting.state === 'sold_out' || waiting.state === 'closed') {
      turnedAway.add(1);
      return null;
    }
    if (LEAVE > 0 && Math.random() < LEAVE) {
      wentAway.add(1);
      return null;
    }
    sleep((waiting.pollingPeriod || POLL_MS) / 1000);
    place = ask('entry', JSON.stringify({ zoneId: ZONE, token: person.token }), entryRequests);
  }
  return place;
}

// Shows the pass where a shop would ask for it. The answer that brought it may have been lost: then the next poll brings the same.
function enter(person, place) {
  const shown = http.get(`${BASE_URL}/verify?zone=${ZONE}`, { headers: { 'Bunho-Pass': place.pass }, tags: { call: 'verify' } });
  check(shown, { 'the pass is good': (it) => it.status === 204 });
  if (!person.asksAgain) return;
  const again = ask('entry', JSON.stringify({ zoneId: ZONE, token: person.token }), entryRequests);
  check(again, { 'the same pass again': (it) => it !== null && it.canEnter && it.pass === place.pass });
}

// Takes one unit, with the pass. Being refused because nothing is left is an answer like another.
function claim(person, place) {
  const parameters = {
    headers: Object.assign({ 'X-Bunho-User': person.name, 'Idempotency-Key': person.name, 'Bunho-Pass': place.pass }, JSON_HEADERS),
    responseCallback: http.expectedStatuses(201, 409),
    tags: { call: 'claim' },
  };
  const post = () => http.post(`${BASE_URL}/v1/offers/${OFFER}/claims`, '{"quantity": 1}', parameters);
  const first = patiently(post);
  if (first === null) return;
  check(first, { 'a claim is taken, or refused since it is sold out': (it) => it.status === 201 || it.json('code') === 'sold_out' });
  if (first.status !== 201) {
    claimsRefused.add(1);
    return;
  }
  claimsTaken.add(1);
  if (!person.asksAgain) return;
  const again = patiently(post);
  if (again === null) return;
  check(again, { 'the same key gives the same claim': (it) => it.status === 201 && it.json('id') === first.json('id') });
}

// Sends one of the two calls of the line. The answer's JSON, or nothing where there was none that could be used.
function ask(call, body, counter) {
  const response = patiently(() => {
    counter.add(1);
    return http.post(`${BASE_URL}/traffic/${call}`, body, { headers: JSON_HEADERS, tags: { call } });
  });
  if (response === null) return null;
  const good = check(response, {
    [`${call} is answered with 200`]: (it) => it.status === 200,
    'who cannot enter is told when to come back': (it) => it.status !== 200 || it.json('canEnter') || 'Retry-After' in it.headers,
  });
  return good ? response.json() : null;
}

// Sends again what was answered with "later", after the time that was asked for; nothing after too many of these.
function patiently(send) {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const response = send();
    if (!busy(response)) return response;
    sleep(Number(response.headers['Retry-After']) || 1);
  }
  gaveUp.add(1);
  return null;
}

export function handleSummary(data) {
  const files = { stdout: page(data) };
  if (__ENV.SUMMARY) files[__ENV.SUMMARY] = JSON.stringify(figures(data));
  return files;
}

// One number for each counter, one object for each trend and rate.
function figures(data) {
  const all = { seconds: data.state.testRunDurationMs / 1000 };
  for (const [name, metric] of Object.entries(data.metrics)) all[name] = metric.type === 'counter' ? metric.values.count : metric.values;
  return all;
}

// The figures on one screen: counters, trends, checks, thresholds.
function page(data) {
  const lines = ['', `k6: zone ${ZONE}${OFFER ? `, offer ${OFFER}` : ''} at ${BASE_URL}, ${VUS} people at a time, ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`, ''];
  const names = Object.keys(data.metrics).sort();
  for (const name of names) {
    const { type, values } = data.metrics[name];
    if (type === 'counter') lines.push(`  ${name.padEnd(34)} ${String(values.count).padStart(10)}   ${values.rate.toFixed(1)}/s`);
  }
  lines.push('');
  for (const name of names) {
    const { type, contains, values } = data.metrics[name];
    const wanted = /^(http_req_duration.*|seconds_in_line|estimate_off_by_seconds)$/.test(name);
    if (type !== 'trend' || !wanted) continue;
    const unit = contains === 'time' ? ' ms' : ' s';
    const shown = ['avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'].map((at) => `${at} ${(values[at] || 0).toFixed(2)}`).join('  ');
    lines.push(`  ${name.padEnd(34)} ${shown}${unit}`);
  }
  lines.push('');
  for (const [name, { passes, fails }] of everyCheck(data.root_group, new Map())) {
    lines.push(`  ${fails === 0 ? 'kept  ' : 'BROKEN'} ${name}: ${passes} of ${passes + fails}`);
  }
  lines.push('');
  for (const name of names) {
    for (const [threshold, result] of Object.entries(data.metrics[name].thresholds || {})) {
      lines.push(`  ${result.ok ? 'met   ' : 'MISSED'} ${name}: ${threshold}`);
    }
  }
  return lines.concat('', '').join('\n');
}

// A check that is made in two groups is counted once.
function everyCheck(node, all) {
  for (const { name, passes, fails } of node.checks) {
    const before = all.get(name) || { passes: 0, fails: 0 };
    all.set(name, { passes: before.passes + passes, fails: before.fails + fails });
  }
  for (const inner of node.groups) everyCheck(inner, all);
  return all;
}
