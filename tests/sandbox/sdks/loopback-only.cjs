'use strict';
// Preloaded first in every Node process of these tests: connecting to anywhere but this machine is an error, and so
// is looking up a name. What node-hosts.cjs leads to the sandbox has become an address when it gets here.
const dns = require('node:dns');
const net = require('node:net');

const { connect } = net.Socket.prototype;
const { lookup } = dns;

net.Socket.prototype.connect = function guarded(...given) {
  const args = Array.isArray(given[0]) ? given[0] : given;
  const host = args[0] !== null && typeof args[0] === 'object' ? args[0].host : args[1];
  if (host !== '127.0.0.1') {
    process.nextTick(() => this.destroy(new Error(`a connection to ${host} was tried`)));
    return this;
  }
  return connect.apply(this, given);
};

dns.lookup = (name, ...rest) => {
  if (net.isIP(name)) {
    lookup(name, ...rest);
  } else {
    process.nextTick(rest.at(-1), new Error(`a look-up of ${name} was tried`));
  }
};
