import { isMap, isScalar, type Pair, parse, parseDocument, type YAMLMap } from 'yaml'

export interface ChartFiles {
  /** Chart.yaml. */
  readonly chart: string
  /** values.yaml, with its comments. */
  readonly values: string
  readonly schema: Schema
  readonly tiers: readonly { readonly name: string; readonly adds: Readonly<Record<string, string>> }[]
  /** helm/examples/, each by its name without .yaml. */
  readonly examples: Readonly<Record<'prometheus' | 'kube-prometheus-stack' | 'tls', string>>
}
export interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
}

/** A value longer than this is not shown. */
const longestDefault = 60

/** The chart's README: what its files say. */
export function renderChartReadme({ chart, values, schema, tiers, examples }: ChartFiles): string {
  const example = (name: keyof ChartFiles['examples']): string => `\`\`\`yaml\n${examples[name].trimEnd()}\n\`\`\``
  const { appVersion }: { appVersion: string } = parse(chart)
  return `# netvitals: the Helm chart

One agent on every Linux node, which measures the network of the node and of each of its pods, and answers Prometheus on the node's port ${parse(values).port}. What it measures, how to read it, and what it costs: [README](https://github.com/netvitals/netvitals/blob/main/README.md).

With Helm 3 or 4, and a registry of yours for the image:

    docker build --tag registry.example/netvitals:${appVersion} . && docker push registry.example/netvitals:${appVersion}
    helm install netvitals helm/netvitals --namespace netvitals --create-namespace --set image.repository=registry.example/netvitals
    helm test netvitals --namespace netvitals --logs

The last causes 100 each of what can go wrong in network namespaces of its own, and finds each of them counted. Helm before 4.1 leaves its pod, which has ended: \`kubectl delete pod netvitals-prove --namespace netvitals\`.

The agent shares the node's network and sees its processes, so its namespace has to allow that: \`kubectl label namespace netvitals pod-security.kubernetes.io/enforce=privileged\`; on OpenShift \`oc adm policy add-scc-to-user privileged -n netvitals -z netvitals\`. It has no capabilities but those of its tier, which Kubernetes gives to uid 0 only (with the tier \`basic\`, which has none, it is uid 65534), a read-only root, seccomp \`RuntimeDefault\`, and no way to more rights. Its service account may list and watch pods, Services and EndpointSlices; less with other values of \`identity\`.

## Tiers

Each has what is above it.

| \`tier\` | adds | what for |
|---|---|---|
${tiers.flatMap(({ name, adds }) => tierRows(name, Object.entries(adds), name === parse(values).tier)).join('\n')}

## Prometheus

With the operator, nothing is to be done but labels: beside kube-prometheus-stack

${example('kube-prometheus-stack')}

Without it:

${example('prometheus')}

## TLS and authentication

As in Prometheus' own exporters. Without them other machines get /metrics, /healthz and /readyz and nothing else; with them, who has shown who he is gets the page and the API too.

${example('tls')}

## Values

| value | default | |
|---|---|---|
${rowsOf(parseDocument(values).contents as YAMLMap, schema, '').join('\n')}
`
}

function tierRows(name: string, adds: readonly (readonly [string, string])[], isDefault: boolean): string[] {
  const first = `\`${name}\`${isDefault ? ' (default)' : ''}`
  if (adds.length === 0) return [`| ${first} | nothing | counters and socket states of every pod, from /proc |`]
  return adds.map(([capability, what], index) => `| ${index === 0 ? first : ''} | ${capability} | ${what} |`)
}

/** A row for each value, and for each section that has something to say of itself. */
function rowsOf(map: YAMLMap, schema: Schema, path: string): string[] {
  return (map.items as readonly Pair[]).flatMap(({ key, value }, index) => {
    if (!isScalar(key)) throw new Error(`values.yaml: a key below ${path || 'the top'} is no word`)
    const name = String(key.value)
    const what = textOf((index === 0 ? map.commentBefore : undefined) ?? key.commentBefore ?? undefined)
    const full = path === '' ? name : `${path}.${name}`
    const inner = schema.properties?.[name]
    if (isMap(value) && inner?.properties !== undefined && value.items.length > 0) {
      const rows = rowsOf(value, inner, full)
      return what === '' ? rows : [`| **\`${full}\`** | | ${what} |`, ...rows]
    }
    const given = JSON.stringify((value as { toJSON(): unknown } | null)?.toJSON())
    const shown = given.length > longestDefault ? 'see values.yaml' : `\`${given}\``
    return [`| \`${full}\` | ${shown} | ${what} |`]
  })
}

const textOf = (comment = ''): string =>
  comment
    .split('\n')
    .map((line) => line.trim())
    .join(' ')
    .replaceAll('|', '\\|')
    .replaceAll('<', '&lt;')
    .trim()
