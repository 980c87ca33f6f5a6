// Calls the function through the CloudBase API gateway, with the access token of whoever is signed in.

import { getAccessToken } from './auth.js';
import { FN_NAME, GATEWAY } from './config.js';
import { t } from './words.js';

const PATIENCE = 25_000; // milliseconds: the platform ends the function's side after 20 seconds
const EXPIRES_SOON = 60_000;

/** A call that did not succeed, in words for people. `status` is the HTTP status, 0 where no answer came. */
export class Trouble extends Error {
  constructor(message, status = 0, body = null) {
    super(message);
    this.status = status;
    this.body = body;
  }

  /** Whether the same call, number and all, may go through later. What it asked for may have happened. */
  get passes() {
    const ours = this.status === 500 && this.message.includes('MISSING_CREDENTIALS');
    return this.unknown || [0, 408, 429].includes(this.status) || (this.status >= 500 && !ours);
  }

  /** Whether the function says that this refusal proves nothing; a 4xx may be one that WeChat Pay did not sign. */
  get unknown() {
    return this.body?.outcome === 'unknown';
  }

  /** Whether the number is used up: another order has it, or it was closed. */
  get taken() {
    const code = String(this.body?.data?.data?.code ?? '').replaceAll('_', '');
    return !this.unknown && (this.status === 409 || ['OUTTRADENOUSED', 'ORDERCLOSED', 'ORDERPAID'].includes(code));
  }
}

/** What WeChat Pay or the order database said. Throws Trouble. */
export async function call(action, params) {
  let answer = await send(action, params, false);
  if (isTokenRefused(answer)) {
    answer = await send(action, params, true); // nothing has happened: a refused token goes no further
  }
  const { status, body } = answer;
  if (status === 200 && body.code === 0) {
    return body.data.data;
  }
  if (status === 0) {
    throw new Trouble(t('noAnswer'));
  }
  throw new Trouble(body.msg ?? t('gateway', { message: body.message ?? status }), status, body);
}

async function send(action, params, renew) {
  const token = await accessToken(renew);
  try {
    const response = await fetch(`${GATEWAY}/v1/functions/${FN_NAME}?webfn=true`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ ...params, _action: action }),
      cache: 'no-store',
      signal: AbortSignal.timeout(PATIENCE),
    });
    return { status: response.status, body: Object(await response.json()) };
  } catch {
    return { status: 0, body: null }; // no answer, or none that can be read: nothing is known
  }
}

/** The function refuses with a number as its code, the gateway with a word. */
function isTokenRefused({ status, body }) {
  return status === 401 || (status === 403 && typeof body.code === 'string');
}

let token = '';

async function accessToken(renew) {
  if (renew || expiresSoon(token)) {
    try {
      token = await getAccessToken({ renew });
    } catch (error) {
      throw new Trouble(error.message, 401); // nothing was sent
    }
  }
  return token;
}

function expiresSoon(jwt) {
  try {
    const claims = jwt.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return !(JSON.parse(atob(claims)).exp * 1000 > Date.now() + EXPIRES_SOON);
  } catch {
    return true;
  }
}
