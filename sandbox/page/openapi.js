// Reads an OpenAPI 3.1 document: what there is to call, with which fields, and what may come back.

const METHODS = ['get', 'post'];
const JSON_TYPE = 'application/json';
const DEEPEST = 8;

export class Description {
  /** Raises TypeError for what is no such document. */
  constructor(document) {
    if (!document?.openapi?.startsWith('3.') || typeof document.paths !== 'object' || document.paths === null) {
      throw new TypeError('no OpenAPI document');
    }
    this.document = document;
    this.operations = Object.entries(document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method) => this.operation(method, path, item[method])),
    );
    if (!this.operations.length) {
      throw new TypeError('an OpenAPI document without operations');
    }
    // The description itself says where the pages are whose numbers stand in brackets.
    this.pages = /https:\/\/[^\s`]+\/(?=<number>)/.exec(document.info?.description ?? '')?.[0] ?? null;
  }

  operation(method, path, about) {
    const content = about.requestBody?.content?.[JSON_TYPE] ?? {};
    const success = this.resolved(about.responses?.['200'] ?? {});
    return {
      id: about.operationId ?? `${method} ${path}`,
      method: method.toUpperCase(),
      path,
      tag: about.tags?.[0] ?? '',
      summary: about.summary ?? path,
      description: about.description ?? '',
      security: (about.security ?? []).map((way) => Object.keys(way)[0] ?? ''),
      example: content.example ?? {},
      schema: content.schema ?? {},
      responses: about.responses ?? {},
      links: Object.values(success.links ?? {}),
    };
  }

  /** [{name, description, operations}], in the document's order; tags that it does not list come last. */
  tags() {
    const named = (this.document.tags ?? []).map(({ name, description }) => ({ name, description }));
    const others = this.operations.map(({ tag }) => tag).filter((name) => !named.some((tag) => tag.name === name));
    const all = [...named, ...[...new Set(others)].map((name) => ({ name, description: '' }))];
    return all
      .map((tag) => ({ ...tag, operations: this.operations.filter((each) => each.tag === tag.name) }))
      .filter((tag) => tag.operations.length);
  }

  find(id) {
    return this.operations.find((each) => each.id === id);
  }

  /** What a $ref stands for. */
  resolved(node) {
    let found = node;
    for (let step = 0; found?.$ref && step < DEEPEST; step += 1) {
      const path = found.$ref.replace(/^#\//, '').split('/');
      found = path.reduce((at, name) => at?.[name.replaceAll('~1', '/').replaceAll('~0', '~')], this.document);
    }
    return found ?? {};
  }

  /** A schema with what $ref and allOf bring along. */
  whole(schema, depth = 0) {
    const own = this.resolved(schema);
    const parts = depth < DEEPEST ? (own.allOf ?? []).map((part) => this.whole(part, depth + 1)) : [];
    return {
      ...Object.assign({}, ...parts),
      ...own,
      properties: Object.assign({}, ...parts.map((part) => part.properties), own.properties),
      required: [...parts.flatMap((part) => part.required), ...(own.required ?? [])],
    };
  }

  /** Rows of a table: a field within another as `amount.total`, one of a list's items as `goods_detail[].price`. */
  fields(schema, prefix = '', depth = 0) {
    const { properties, required } = this.whole(schema);
    return Object.entries(properties).flatMap(([name, property]) => {
      const value = this.whole(property);
      const item = value.type === 'array' ? this.whole(value.items ?? {}) : null;
      const path = prefix + name;
      const row = {
        path,
        required: required.includes(name),
        type: item ? `${typeOf(item)}[]` : typeOf(value),
        description: property.description ?? value.description ?? '',
        choices: choicesOf(item ?? value),
        limits: limitsOf(value),
        pattern: value.pattern ?? null,
      };
      const inner = depth < DEEPEST ? this.fields(item ?? value, item ? `${path}[].` : `${path}.`, depth + 1) : [];
      return [row, ...inner];
    });
  }

  /** Names of which one must be there, or the values of the field that says which others there are. */
  choice(schema) {
    const all = this.alternatives(schema);
    const { propertyName, mapping = {} } = all.find((each) => each.discriminator)?.discriminator ?? {};
    if (propertyName) {
      return { field: propertyName, names: Object.keys(mapping) };
    }
    const names = all.filter((each) => !each.properties).flatMap((each) => each.required ?? []);
    return { field: null, names };
  }

  alternatives(schema) {
    const own = this.resolved(schema);
    return [...(own.oneOf ?? []), ...(own.anyOf ?? [])].concat(own.discriminator ? [own] : []);
  }

  /** What the document says about this status, or null. */
  response({ responses }, status) {
    const found = responses[status] ?? responses[`${String(status)[0]}XX`] ?? responses.default;
    return found ? this.resolved(found) : null;
  }
}

function typeOf(schema) {
  const names = [schema.type ?? (schema.properties && Object.keys(schema.properties).length ? 'object' : [])].flat();
  const formats = [schema.format, ...(schema.anyOf ?? []).map((each) => each.format)].filter(Boolean);
  return [names.join(' | '), formats.join(' | ')].filter(Boolean).join(', ');
}

const choicesOf = ({ enum: several, const: one }) => several ?? (one === undefined ? [] : [one]);

/** [kind, lowest, highest]; one of the two may be missing. */
function limitsOf(schema) {
  return [
    ['characters', schema.minLength, schema.maxLength],
    ['value', schema.minimum, schema.maximum],
    ['items', schema.minItems, schema.maxItems],
  ].filter(([, low, high]) => low !== undefined || high !== undefined);
}
