'use strict';
// The frame of a shop's server: `POST /call/<action>` does what a test asks for, by the SDK; every other POST is a
// notification. Its address is the first line it prints, and it ends when nobody holds its standard input any more.
const http = require('node:http');

const read = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
};

/**
 * `actions` by name: whatever they return, or throw, is answered as JSON. `notified(headers, body)` returns the
 * decrypted resource of a genuine notification, and throws at any other.
 */
module.exports = function serve(actions, notified) {
  const answer = async (url, headers, body) => {
    if (!url.startsWith('/call/')) {
      try {
        return [200, { code: 'SUCCESS', resource: await notified(headers, body) }];
      } catch (error) {
        return [401, { code: 'FAIL', message: error.message }];
      }
    }
    try {
      return [200, { returned: (await actions[url.slice('/call/'.length)](...JSON.parse(body))) ?? null }];
    } catch (error) {
      const { status, data } = error.response ?? {};
      return [200, { thrown: { message: error.message, code: error.code, status, data } }];
    }
  };
  const server = http.createServer(async (request, response) => {
    const [status, content] = await answer(request.url, request.headers, await read(request));
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(content));
  });
  server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
  process.stdin.on('end', () => process.exit(0)).resume();
};
