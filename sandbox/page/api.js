// The sandbox's control API, and the function behind it. Failures become a Trouble with words for people.

import { t } from './i18n.js';

export class Trouble extends Error {
  /** `words` are made when shown: the language may have changed by then. */
  constructor(key, values, answer) {
    super(key);
    this.key = key;
    this.values = values;
    this.answer = answer;
  }

  get words() {
    return t(this.key, this.values);
  }
}

async function ask(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers }, cache: 'no-store' };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let status;
  let text;
  try {
    const response = await fetch(path, options);
    status = response.status;
    text = await response.text();
  } catch {
    throw new Trouble('answer.noSandbox', { url: location.origin });
  }
  try {
    return { status, body: JSON.parse(text) };
  } catch {
    return { status, body: text };
  }
}

async function control(method, path, body) {
  const answer = await ask(method, `/sandbox/${path}`, body);
  if (answer.status !== 200) {
    throw new Trouble('answer.sandbox', { message: answer.body?.error ?? answer.status });
  }
  return answer.body;
}

export const get = (path) => control('GET', path);
export const post = (path, body = {}) => control('POST', path, body);
export const remove = (path) => control('DELETE', path);

export const thing = (kind, number, action) => `${kind}/${encodeURIComponent(number)}/${action}`;

/** Calls the function as a mini program's platform does. Returns {data, answer}. */
export async function callFunction(action, body, { operator = false, functionUrl = '' } = {}) {
  const reply = await post('call', { path: `/wx-pay/${action}`, body, ...(operator ? { operator } : {}) });
  if (reply.status === null || reply.error) {
    throw new Trouble('answer.unreachable', { url: functionUrl }, reply.error);
  }
  return understood(reply.status, reply.body);
}

/** Calls it as a web page does, through the API gateway and with a user's token. */
export async function callGateway(action, body, { functionUrl = '' } = {}) {
  const { token } = await post('token', { kind: 'user' });
  const headers = { Authorization: `Bearer ${token}` };
  const reply = await ask('POST', '/v1/functions/pay-common?webfn=true', { ...body, _action: action }, headers);
  if (reply.body?.code === 'FUNCTION_INVOCATION_FAILED') {
    throw new Trouble('answer.unreachable', { url: functionUrl }, reply.body);
  }
  if (typeof reply.body?.code === 'string') {
    throw new Trouble('answer.gateway', { status: reply.status, message: reply.body.message }, reply.body);
  }
  return understood(reply.status, reply.body);
}

function understood(status, answer) {
  if (status === 200 && answer?.code === 0) {
    return { data: answer.data?.data ?? {}, answer };
  }
  if (typeof answer?.msg === 'string') {
    throw new Trouble('answer.refused', { status, message: answer.msg }, answer);
  }
  throw new Trouble('answer.strange', { status }, answer);
}
