// Draws a QR code as SVG: sharp at any size, dark on light whatever the page's colours.

import { qrcode } from './lib/qrcode-generator.mjs';

const QUIET = 4; // modules around it that the standard keeps free
const SVG = 'http://www.w3.org/2000/svg';

/** An element that shows `text`, unaltered, named `label` for those who cannot see it. */
export function drawn(text, label) {
  const code = qrcode(0, 'M');
  code.addData(text);
  code.make();
  const size = code.getModuleCount();
  let path = '';
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) {
      if (code.isDark(row, column)) {
        path += `M${column} ${row}h1v1h-1z`;
      }
    }
  }
  const whole = size + 2 * QUIET;
  return element(
    'svg',
    { viewBox: `${-QUIET} ${-QUIET} ${whole} ${whole}`, role: 'img', 'aria-label': label },
    element('rect', { x: -QUIET, y: -QUIET, width: whole, height: whole, fill: '#fff' }),
    element('path', { d: path, fill: '#000', 'shape-rendering': 'crispEdges' }),
  );
}

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) {
    made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
}
