// What a merchant sets. A browser shows all of it to everybody, so nothing here is secret.

export const ENV_ID = 'your-env-id';
// Of two functions (docs/deploy.md) the public one: 'pay-common-public'.
export const FN_NAME = 'pay-common';
export const GATEWAY = `https://${ENV_ID}.api.tcloudbasegateway.com`;

// What is sold, the amount in cents. A browser can be made to send any other amount: the price that counts is the one
// of the function's `priceList`, or of your own order service.
export const ORDER = { description: 'A cup of tea', amount: { total: 20, currency: 'CNY' } };

// Milliseconds until an unpaid order is closed. A QR code lives two hours at most.
export const PAY_WITHIN = 10 * 60_000;

// Milliseconds between two questions at WeChat Pay, where the function has no order database: at first, and at most.
export const POLL = { first: 2_000, longest: 5_000 };
