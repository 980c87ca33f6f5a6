// Numbers of orders and refunds.

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz' // 32: a byte gives each letter the same chance

/**
 * `prefix`, the time, and 12 random characters: at most 32 of [A-Za-z0-9_-], as WeChat Pay wants. Whoever knows
 * an order's number may ask for it where the function has no order database, so that nobody may guess one.
 */
function fresh(prefix) {
  return new Promise((resolve, reject) => {
    wx.getRandomValues({
      length: 12,
      success: ({ randomValues }) => {
        const letters = Array.from(new Uint8Array(randomValues), (byte) => ALPHABET[byte % 32])
        resolve(prefix + new Date().toISOString().replace(/\D/g, '').slice(0, 14) + letters.join(''))
      },
      fail: reject,
    })
  })
}

module.exports = { fresh }
