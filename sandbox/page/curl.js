// A request as a line for the shell.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** `--data-raw` takes the text as it is, also one that begins with @. */
export function curlLine({ method, url, headers, body }) {
  const parts = [`curl -sS -i ${quoted(url)}`];
  for (const [name, value] of Object.entries(headers)) {
    parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  }
  if (method === 'POST') {
    parts.push(`--data-raw ${quoted(body)}`);
  }
  return parts.join(' \\\n  ');
}
