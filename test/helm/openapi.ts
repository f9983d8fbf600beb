/** A schema, in the words that OpenAPI 2, CustomResourceDefinitions and JSON Schema share. */
export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly format?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly nullable?: boolean
  readonly 'x-kubernetes-group-version-kind'?: readonly GroupVersionKind[]
  readonly 'x-kubernetes-int-or-string'?: boolean
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean
}
interface GroupVersionKind {
  readonly group: string
  readonly version: string
  readonly kind: string
}
type Definitions = Readonly<Record<string, Schema>>
/** What the API server answers at /openapi/v2. */
export interface OpenApi {
  readonly definitions: Definitions
}
export interface CustomResourceDefinition {
  readonly spec: {
    readonly group: string
    readonly names: { readonly kind: string }
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[]
  }
}

const prefix = '#/definitions/'
const objectMeta = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'
const quantity = 'io.k8s.apimachinery.pkg.api.resource.Quantity'
const nothing: Schema = { type: 'null' }

/** What the API server knows of some kinds, without the prose and what only clients need. */
export function cutOpenApi({ definitions }: OpenApi, kinds: readonly string[]): OpenApi {
  const roots = Object.entries(definitions).flatMap(([name, definition]) =>
    (definition['x-kubernetes-group-version-kind'] ?? []).some((one) => kinds.includes(nameOf(one))) ? [name] : [],
  )
  const reached = new Set<string>()
  const rest = [...roots]
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (reached.has(name)) continue
    reached.add(name)
    for (const [, next] of JSON.stringify(definitions[name]).matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)) rest.push(next!)
  }
  const kept = [...reached].sort().map((name) => [name, cut(definitions[name]!, ['x-kubernetes-group-version-kind'])])
  return { definitions: Object.fromEntries(kept) }
}

/** The same of a CustomResourceDefinition. */
export function cutResourceDefinition({ spec }: CustomResourceDefinition): CustomResourceDefinition {
  const { group, names, versions } = spec
  return {
    spec: {
      group,
      names: { kind: names.kind },
      versions: versions.map(({ name, schema: { openAPIV3Schema } }) => ({
        name,
        schema: { openAPIV3Schema: cut(openAPIV3Schema, ['x-kubernetes-int-or-string', 'x-kubernetes-preserve-unknown-fields']) },
      })),
    },
  }
}

const nameOf = ({ group, version, kind }: GroupVersionKind): string =>
  [group, version, kind].filter((word) => word !== '').join('/')

function cut(schema: Schema, kept: readonly string[]): Schema {
  const isLeftOut = (word: string): boolean =>
    ['description', 'default', 'externalDocs'].includes(word) || (word.startsWith('x-kubernetes-') && !kept.includes(word))
  return mapSchemas(schema, (each) => Object.fromEntries(Object.entries(each).filter(([word]) => !isLeftOut(word))))
}

/** The schema with a change made to each schema in it, the innermost first. */
function mapSchemas(schema: Schema, change: (schema: Schema, isRequired: boolean) => Schema, isRequired = true): Schema {
  const { properties, additionalProperties, items, anyOf, required = [] } = schema
  const changed = {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, each]) => [name, mapSchemas(each, change, required.includes(name))]),
      ),
    }),
    ...(typeof additionalProperties === 'object' && { additionalProperties: mapSchemas(additionalProperties, change) }),
    ...(items && { items: mapSchemas(items, change) }),
    ...(anyOf && { anyOf: anyOf.map((each) => mapSchemas(each, change)) }),
  }
  return change(changed, isRequired)
}

/** JSON schemas of the kinds, by the names of files that kubeconform looks for. Unknown fields are refused, as kubectl does. */
export function toJsonSchemas(api: OpenApi, resourceDefinitions: readonly CustomResourceDefinition[]): Map<string, object> {
  const definitions = Object.fromEntries(
    Object.entries(api.definitions).map(([name, schema]) => [
      name,
      name === quantity ? quantities : mapSchemas(schema, ofApiServer),
    ]),
  )
  const kinds = Object.entries(definitions).flatMap(([name, schema]) =>
    (schema['x-kubernetes-group-version-kind'] ?? []).map((kind) => [kind, { $ref: `${prefix}${name}` }] as const),
  )
  const custom = resourceDefinitions.flatMap(({ spec: { group, names, versions } }) =>
    versions.map(({ name: version, schema: { openAPIV3Schema } }) => {
      const schema = mapSchemas(openAPIV3Schema, ofResourceDefinition)
      const metadata = { $ref: `${prefix}${objectMeta}` }
      return [
        { group, version, kind: names.kind },
        { ...schema, properties: { ...schema.properties, metadata } },
      ] as const
    }),
  )
  return new Map([...kinds, ...custom].map(([kind, schema]) => [fileOf(kind), { ...schema, definitions }]))
}

/** What kubeconform calls `{{ .ResourceKind }}{{ .KindSuffix }}.json`. */
const fileOf = ({ group, version, kind }: GroupVersionKind): string =>
  `${[kind.toLowerCase(), group.split('.')[0], version].filter((word) => word !== '').join('-')}.json`

/** OpenAPI calls it a string; the API server takes a number too. */
const quantities: Schema & { readonly pattern: string } = {
  type: ['string', 'number'],
  pattern: '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$',
}

const isClosed = (schema: Schema): boolean =>
  schema.properties !== undefined &&
  schema.additionalProperties === undefined &&
  schema['x-kubernetes-preserve-unknown-fields'] !== true
const closed = (schema: Schema): Schema => (isClosed(schema) ? { ...schema, additionalProperties: false } : schema)

/** The API server takes null for what may be left out. */
function ofApiServer(schema: Schema, isRequired: boolean): Schema {
  const strict = closed(schema.format === 'int-or-string' ? { type: ['integer', 'string'] } : schema)
  return isRequired ? strict : { anyOf: [strict, nothing] }
}

/** Of a custom resource it takes null only where that is said. */
function ofResourceDefinition({ nullable, ...schema }: Schema): Schema {
  const isEither = schema['x-kubernetes-int-or-string'] === true && schema.type === undefined && schema.anyOf === undefined
  const strict = closed(isEither ? { ...schema, type: ['integer', 'string'] } : schema)
  return nullable === true ? { anyOf: [strict, nothing] } : strict
}
