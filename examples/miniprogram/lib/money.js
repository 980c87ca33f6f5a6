// Money is an integer in cents everywhere; yuan are text, made and read without floating point.

/** 20 -> '0.20' */
function yuan(cents) {
  const digits = String(cents).padStart(3, '0')
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`
}

/** '0.2' -> 20; 0 for what is no amount above 0 with at most two decimals. */
function cents(text) {
  const match = /^(\d{1,7})(?:\.(\d{1,2}))?$/.exec(text.trim())
  return match ? Number(match[1] + (match[2] || '').padEnd(2, '0')) : 0
}

module.exports = { yuan, cents }
