// Small helpers for the document. Data only ever becomes text nodes and attributes, never markup.

export const $ = (id) => document.getElementById(id);

/** An element; `on*` attributes are listeners, false and null ones are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) {
      continue;
    }
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function show(element, visible) {
  if (element.hidden === visible) {
    element.hidden = !visible;
  }
}

/** Writes only what differs: an untouched live region stays silent. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function setBadge(element, tone, text) {
  const name = `badge ${tone}`;
  if (element.className !== name) {
    element.className = name;
  }
  setText(element, text);
}

export const badge = (tone, text) => h('span', { class: `badge ${tone}` }, text);

/**
 * A list whose rows are made once per value and kept as long as the value is the very same object, so that
 * open details and the focus survive updates.
 */
export class KeyedList {
  constructor(parent, build) {
    this.parent = parent;
    this.build = build;
    this.rows = new Map();
  }

  /** `items`: [key, value] in the order wanted. */
  update(items) {
    const wanted = new Set(items.map(([key]) => key));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.node.remove();
        this.rows.delete(key);
      }
    }
    let place = this.parent.firstElementChild;
    for (const [key, value] of items) {
      let row = this.rows.get(key);
      if (!row || row.value !== value) {
        row = this.replaced(row, key, value);
        if (place && !place.isConnected) {
          place = row.node;
        }
      }
      if (row.node === place) {
        place = place.nextElementSibling;
      } else {
        this.parent.insertBefore(row.node, place);
      }
    }
  }

  /** Makes all rows anew at the next update, as another language needs it. */
  forget() {
    this.rows.forEach((row) => row.node.remove());
    this.rows.clear();
  }

  replaced(old, key, value) {
    const row = { value, node: this.build(value) };
    if (old) {
      const focused = old.node.contains(document.activeElement) ? focusPlace(old.node) : -1;
      const [before, after] = [old.node, row.node].map((node) => node.querySelector('details'));
      if (before?.open && after) {
        after.open = true;
      }
      old.node.replaceWith(row.node);
      focusables(row.node)[focused]?.focus({ preventScroll: true });
    }
    this.rows.set(key, row);
    return row;
  }
}

const focusables = (node) => [...node.querySelectorAll('button, input, select, summary')];
const focusPlace = (node) => focusables(node).indexOf(document.activeElement);

/**
 * Runs what a button or form stands for, once at a time. A disabled button would lose the focus, so it is only
 * marked. Where the button is gone afterwards, the focus moves to `fallback()`.
 */
export function busy(control, action, fallback) {
  return async (event) => {
    event?.preventDefault();
    if (control.getAttribute('aria-busy') === 'true') {
      return;
    }
    control.setAttribute('aria-busy', 'true');
    control.setAttribute('aria-disabled', 'true');
    try {
      await action(event);
    } finally {
      control.removeAttribute('aria-busy');
      control.removeAttribute('aria-disabled');
      requestAnimationFrame(() =>
        requestAnimationFrame(() => {
          const lost = document.activeElement === document.body || document.activeElement === null;
          const gone = !control.isConnected || control.closest('[hidden]') !== null;
          if (lost && gone) {
            fallback?.()?.focus();
          }
        }),
      );
    }
  };
}
