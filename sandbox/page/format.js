// Money and time as people read them. Money is an integer in cents everywhere; no fraction is ever computed.

const MOST_YUAN_DIGITS = 8;
const BEIJING_MS = 8 * 3600 * 1000;

/** Cents of a text in yuan, or null. Full-width digits, as Chinese input methods write them, count too. */
export function centsOf(text) {
  const plain = text.normalize('NFKC').replace(/[。．]/g, '.').replace(/^[\s¥￥]+|\s+$/g, '');
  const parts = /^(\d+)(?:\.(\d{1,2}))?$/.exec(plain);
  if (!parts || parts[1].replace(/^0+/, '').length > MOST_YUAN_DIGITS) {
    return null;
  }
  const cents = Number(parts[1] + (parts[2] ?? '').padEnd(2, '0'));
  return cents > 0 ? cents : null;
}

export function yuan(cents) {
  const digits = String(Math.abs(cents)).padStart(3, '0');
  return `${cents < 0 ? '-' : ''}¥${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** Milliseconds of an RFC 3339 text or of Unix seconds; null of anything else. */
export function moment(value) {
  const ms = typeof value === 'number' ? value * 1000 : Date.parse(value ?? '');
  return Number.isFinite(ms) ? ms : null;
}

/** `2026-01-31 12:30:45` in Beijing. */
export function fullTime(value) {
  const ms = moment(value);
  return ms === null ? '' : new Date(ms + BEIJING_MS).toISOString().slice(0, 19).replace('T', ' ');
}

/** The same without the day where that is the day of `now`, without the year elsewhere. */
export function shortTime(value, now) {
  const text = fullTime(value);
  return text.slice(0, 10) === fullTime(now).slice(0, 10) ? text.slice(11) : text.slice(5);
}

/** Indented, where it is JSON. */
export function pretty(value) {
  if (typeof value !== 'string') {
    return value === null || value === undefined ? '' : JSON.stringify(value, null, 2);
  }
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}

// 32 characters that nobody mistakes for another: a byte's low five bits choose without bias.
const ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

export function randomText(length) {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => ALPHABET[byte & 31]).join('');
}
