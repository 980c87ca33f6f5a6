'use strict';
/*
 * Leads WeChat Pay's own host names to the sandbox, for Node programs whose SDK has them built in and honours no
 * proxy setting (wechatpay-node-v3, or anything on top of node:https). The SDK stays as it is:
 *
 *   python -m sandbox
 *   SANDBOX_HTTPS=127.0.0.1:8943 NODE_EXTRA_CA_CERTS=.sandbox/ca.pem node --require ./sandbox/node-hosts.cjs app.js
 *
 * SANDBOX_HTTPS is where the sandbox speaks TLS, as host:port or as a URL. NODE_EXTRA_CA_CERTS makes this one
 * process trust the sandbox's certificate, which is checked as ever: what is changed is where a connection goes, not
 * what is believed there. Where a program is not started by hand, NODE_OPTIONS="--require /path/to/node-hosts.cjs"
 * does the same.
 *
 * Only these names are led elsewhere, and only for HTTPS; to any other port of theirs nothing is connected at all,
 * so that no request of a test ever gets to the real WeChat Pay. All other hosts are left alone. The backup host is
 * told from the main one by its name in the TLS handshake.
 */
const net = require('node:net');

const NAMES = new Set([
  'api.mch.weixin.qq.com',
  'api2.mch.weixin.qq.com',
  'api.wechatpay.cn',
  'api2.wechatpay.cn',
]);

const target = (() => {
  const given = process.env.SANDBOX_HTTPS || '';
  let url = null;
  try {
    url = new URL(given.includes('://') ? given : `https://${given}`);
  } catch {
    // told below
  }
  if (!url || url.protocol !== 'https:' || NAMES.has(url.hostname)) {
    throw new Error('set SANDBOX_HTTPS to where the sandbox speaks TLS, for example 127.0.0.1:8943');
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443) };
})();

const connect = net.Socket.prototype.connect;

// Everything that opens a connection, TLS included, comes through here: with (options, listener), with
// (port, host, listener), or with both of the former in one array when Node has sorted them out already.
net.Socket.prototype.connect = function ledConnect(...given) {
  const sorted = Array.isArray(given[0]);
  const args = sorted ? given[0] : given;
  const inOptions = args[0] !== null && typeof args[0] === 'object';
  const { host, port } = inOptions ? args[0] : { host: args[1], port: args[0] };
  if (typeof host !== 'string' || !NAMES.has(host.toLowerCase().replace(/\.$/, ''))) {
    return connect.apply(this, given);
  }
  if (Number(port) !== 443) {
    const refusal = new Error(`the sandbox does not play ${host}:${port}`);
    process.nextTick(() => this.destroy(refusal));
    return this;
  }
  if (inOptions) {
    args[0] = { ...args[0], ...target };
  } else {
    args[0] = target.port;
    args[1] = target.host;
  }
  return connect.apply(this, given);
};
