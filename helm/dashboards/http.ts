import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  buckets,
  function_,
  increase,
  type LabelOf,
  labelReplace,
  like,
  or,
  type Query,
  quantile,
  rate,
  share,
  shownWindow,
  sum,
  topk,
  value,
  withWorkload,
} from '../promql.ts'
import type { Board, Panel, Row, Target } from './board.ts'
import { lostByCapture } from './capture-panels.ts'
import { here, inNamespaces, inPods } from './variables.ts'

type Direction = 'in' | 'out'
const directions = ['in', 'out'] as const
const role = { in: 'as server', out: 'as client' } as const

const off = 'No HTTP was seen: there was none, or no port is set (capture.httpPorts of the chart, --capture.http-ports)'
const notSeen = 'None seen, or off'

const pods = { ...inPods, pod: [inPods.pod, like('.+')] } as const
const hosts = { ...inPods, pod: [inPods.pod, ''] } as const

/** By `class`: 2xx, 4xx, 5xx … and `other`. */
const withClass = (of: Query<LabelOf<'netvitals_http_requests_total'>>) =>
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the group is the pattern's
  labelReplace(labelReplace(of, 'class', '$1', 'status', '(.*)'), 'class', '${1}xx', 'status', '([1-5])..')
const colours = { '2xx': 'green', '3xx': 'blue', '4xx': 'orange', '5xx': 'red', unanswered: 'purple' } as const

const statusOf = { '4xx': like('4..'), '5xx': like('5..') } as const
type Class = keyof typeof statusOf
const classes = ['5xx', '4xx'] as const

const answered = (direction: Direction) => rate('netvitals_http_requests_total', { ...inPods, direction })
const ofClass = (direction: Direction, name: Class) =>
  rate('netvitals_http_requests_total', { ...inPods, direction, status: statusOf[name] })
const unanswered = (direction: Direction) => rate('netvitals_http_unanswered_total', { ...inPods, direction })
/** With and without an answer. */
const requests = (direction: Direction) => sum(or(answered(direction), unanswered(direction)))
const durations = (direction: Direction) => buckets('netvitals_http_duration_seconds', { ...inPods, direction })
/** Nothing where nothing was answered. */
const percentile = (part: number, direction: Direction) => above(quantile(part, sum(durations(direction), 'le')), 0)

/** Of both directions apart: who asks and who is asked may both be here, and their sum means nothing. */
const each = (query: (direction: Direction) => Query): readonly Target[] =>
  directions.map((direction) => ({ query: query(direction), legend: role[direction] }))

const now = {
  requests: {
    kind: 'stat',
    title: 'HTTP requests',
    description:
      'Requests a second that these pods take as servers and make as clients, answered or not. What is between two pods that both are chosen counts once as server and once as client. Compare with an hour ago: much less is a fault further up, much more is retries or load.',
    unit: 'reqps',
    empty: notSeen,
    targets: each(requests),
  },
  serverErrors: {
    kind: 'stat',
    title: 'HTTP 5xx error ratio',
    description:
      'Answers of the 5xx, of all requests. High as server: these pods fail, or what they call; high as client only: somebody they call does. The rows below say which pods; `netvitals observe --status 5xx` shows single requests with their path.',
    unit: 'percentunit',
    empty: notSeen,
    levels: thresholds.httpErrorRatio,
    targets: each((direction) => share(sum(ofClass(direction, '5xx')), requests(direction))),
  },
  clientErrors: {
    kind: 'stat',
    title: 'HTTP 4xx ratio',
    description:
      'Answers of the 4xx, of all requests: not found, not allowed, too many. A step upwards after a rollout: a path, a token or a limit has changed. `netvitals observe --status 4xx` shows who asks for what.',
    unit: 'percentunit',
    empty: notSeen,
    targets: each((direction) => share(sum(ofClass(direction, '4xx')), requests(direction))),
  },
  unanswered: {
    kind: 'stat',
    title: 'HTTP unanswered',
    description:
      'Requests whose connection ended without an answer, or that have none after a minute, of all requests. High: servers crash, hang or are killed while they work, or a proxy gave up. `netvitals observe --status unanswered` shows them; TCP health says who resets.',
    unit: 'percentunit',
    empty: notSeen,
    levels: thresholds.httpErrorRatio,
    targets: each((direction) => share(sum(unanswered(direction)), requests(direction))),
  },
  latency: {
    kind: 'stat',
    title: 'HTTP latency p95',
    description:
      'From the first byte of a request to the first byte of its answer: nineteen of twenty took this time or less. High as server: these pods, or what they wait for; high as client only: whom they call, or the way there. See Edges for the round-trip time.',
    unit: 's',
    empty: notSeen,
    levels: thresholds.httpSeconds,
    targets: each((direction) => percentile(0.95, direction)),
  },
  nodes: {
    kind: 'stat',
    title: 'Nodes that read HTTP',
    description:
      'On how many nodes packets of HTTP are read, and how many connections a second to the ports that are set hold nothing to read: TLS, HTTP/2. At 0 it is off: set the ports in `capture.httpPorts` of the chart with the tier capture, or in `--capture.http-ports`. `netvitals check` says what is missing.',
    unit: 'short',
    empty: 'No agent',
    targets: [
      { query: sum(value('netvitals_source_available', { ...here, source: 'pcap-http' })), legend: 'nodes' },
      { query: sum(rate('netvitals_http_unreadable_connections_total', here)), legend: 'unreadable/s' },
    ],
  },
} as const satisfies Record<string, Panel>

const byClass = (direction: Direction): Panel => ({
  kind: 'graph',
  title: `HTTP requests by status class, ${role[direction]}`,
  description: {
    in: 'Requests a second that these pods were asked, by the class of their answer; `other` is a rare code of any class. 5xx: the pods fail or what they depend on does; 4xx: clients ask for what is not there or not allowed. `netvitals observe --status 5xx --to-pod NAMESPACE/POD` shows single requests.',
    out: 'Requests a second that these pods made, by the class of the answer they got; `other` is a rare code of any class. 5xx here and not as server: somebody else fails, and these pods cope with it. `netvitals observe --status 5xx --from-pod NAMESPACE/POD` shows whom they asked.',
  }[direction],
  unit: 'reqps',
  isStacked: true,
  empty: off,
  colours,
  targets: [
    { query: sum(withClass(answered(direction)), 'class'), legend: '{{class}}' },
    { query: above(sum(unanswered(direction)), 0), legend: 'unanswered' },
  ],
})

const inDirection = (direction: Direction): Row => ({
  title: { in: 'As server: what these pods are asked', out: 'As client: what these pods ask' }[direction],
  panels: [
    {
      kind: 'graph',
      title: `HTTP latency percentiles, ${role[direction]}`,
      description:
        'From the first byte of a request to the first byte of its answer: half, 95 % and 99 % took this time or less, estimated within buckets that grow by four. p50 high: everything is slow; only p99 high: some paths or some pods are. `netvitals observe --http` shows single requests with their time.',
      unit: 's',
      empty: off,
      levels: thresholds.httpSeconds,
      targets: [0.5, 0.95, 0.99].map((part) => ({ query: percentile(part, direction), legend: `p${part * 100}` })),
    },
    {
      kind: 'heatmap',
      rows: 'buckets',
      title: `HTTP latency heat map, ${role[direction]}`,
      description:
        'How many answers took how long: a row is a span of time, a dark cell many answers. Two dark bands are two kinds of requests, such as those from a cache and those to a database. A band that rises is a part that slows down while the rest does not.',
      unit: 's',
      empty: off,
      target: { query: sum(durations(direction), 'le'), legend: '{{le}}' },
    },
    {
      kind: 'graph',
      title: `HTTP error ratio, ${role[direction]}`,
      description:
        'Answers of the 5xx and of the 4xx, and requests without an answer, of all requests. It tells a fault from a change of load: the ratio rises only with faults. Then see which pods, below.',
      unit: 'percentunit',
      max: 1,
      width: 8,
      empty: off,
      levels: thresholds.httpErrorRatio,
      colours,
      targets: [
        ...classes.map((name) => ({ query: share(sum(ofClass(direction, name)), requests(direction)), legend: name })),
        { query: share(sum(unanswered(direction)), requests(direction)), legend: 'unanswered' },
      ],
    },
    {
      kind: 'graph',
      title: `HTTP requests by method, ${role[direction]}`,
      description:
        'Requests a second by their method. A POST that rises alone is most often somebody who tries again; an OPTIONS for each other request is a browser that asks first. `netvitals observe --http --method POST` shows the paths.',
      unit: 'reqps',
      isStacked: true,
      width: 8,
      empty: off,
      targets: [{ query: above(sum(answered(direction), 'method'), 0), legend: '{{method}}' }],
    },
    {
      kind: 'graph',
      title: `HTTP 4xx and 5xx by status and method, ${role[direction]}`,
      description:
        'Answers of the 4xx and 5xx a second by their code. 502, 503 and 504 come from a proxy that has nobody behind it or waits in vain; 500 from the program itself; 429 from a limit; 401 and 403 from a token or a policy. `netvitals observe --status 503` shows single ones.',
      unit: 'reqps',
      width: 8,
      empty: 'No answer of the 4xx or 5xx',
      targets: [
        {
          query: topk(
            20,
            above(
              sum(rate('netvitals_http_requests_total', { ...inPods, direction, status: like('[45]..') }), 'status', 'method'),
              0,
            ),
          ),
          legend: '{{status}} {{method}}',
        },
      ],
    },
  ],
})

const podsWith = (name: Class, direction: Direction): Panel => ({
  kind: 'graph',
  title: `Top pods with HTTP ${name}, ${role[direction]}`,
  description: {
    in: `Which pods answer with ${name}. One pod of a workload alone: restart or drain it, and look at its node; all of them: their version, or what they depend on. \`netvitals observe --status ${name} --to-pod NAMESPACE/POD\` shows who asked for what.`,
    out: `Which pods get ${name} from those that they ask. One alone: its settings or its token; many: the server that they have in common. \`netvitals observe --status ${name} --from-pod NAMESPACE/POD\` shows whom they asked for what.`,
  }[direction],
  unit: 'reqps',
  empty: `No answer of the ${name}`,
  targets: [
    {
      query: topk(
        15,
        above(sum(rate('netvitals_http_requests_total', { ...pods, direction, status: statusOf[name] }), 'namespace', 'pod'), 0),
      ),
      legend: '{{namespace}}/{{pod}}',
    },
    {
      query: topk(
        5,
        above(sum(rate('netvitals_http_requests_total', { ...hosts, direction, status: statusOf[name] }), 'node'), 0),
      ),
      legend: 'host {{node}}',
    },
  ],
})

const workloadsWith = (name: Class): Panel => ({
  kind: 'graph',
  title: `Top workloads with HTTP ${name}, as server`,
  description: `Which workloads answer with ${name}; what is on the network of the host or outside Kubernetes has none and is left out. The first in a chain of calls is seldom the culprit: look for the last one that still has errors, with Edges beside it. \`netvitals show edges\` says who calls whom.`,
  unit: 'reqps',
  empty: `No answer of the ${name}`,
  targets: [
    {
      query: topk(20, above(sum(withWorkload(ofClass('in', name), inNamespaces), 'namespace', 'workload'), 0)),
      legend: '{{namespace}}/{{workload}}',
    },
  ],
})

const without = (direction: Direction): Panel => ({
  kind: 'graph',
  title: `Top pods with unanswered HTTP requests, ${role[direction]}`,
  description: {
    in: 'Which pods leave requests without an answer: the connection ended before, or a minute went by. They crash, hang, or are killed at a rollout before they have finished. `netvitals observe --status unanswered --to-pod NAMESPACE/POD` shows which requests.',
    out: 'Whose requests get no answer: the connection ended before, or a minute went by. One server behind all of them hangs; one client alone gives up too soon. `netvitals observe --status unanswered --from-pod NAMESPACE/POD` shows whom they asked.',
  }[direction],
  unit: 'reqps',
  empty: 'Every request was answered',
  targets: [
    {
      query: topk(15, above(sum(rate('netvitals_http_unanswered_total', { ...pods, direction }), 'namespace', 'pod'), 0)),
      legend: '{{namespace}}/{{pod}}',
    },
    {
      query: topk(5, above(sum(rate('netvitals_http_unanswered_total', { ...hosts, direction }), 'node'), 0)),
      legend: 'host {{node}}',
    },
  ],
})

const slowest = (direction: Direction): Panel => ({
  kind: 'graph',
  title: `Top pods by HTTP latency p95, ${role[direction]}`,
  description: {
    in: '95 % of what this pod answered took this time or less. One pod of a workload alone: its node or its share of the load, see Pod Flows (Workload); all of them: what they wait for, which the same panel as client shows. `netvitals observe --http --to-pod NAMESPACE/POD` shows the paths.',
    out: '95 % of what this pod asked for took this time or less to come. Slow here and fast as server at the other end: the way between them, see Edges and TCP health. `netvitals observe --http --from-pod NAMESPACE/POD` shows whom it waits for.',
  }[direction],
  unit: 's',
  empty: off,
  levels: thresholds.httpSeconds,
  targets: [
    {
      query: topk(
        15,
        above(
          quantile(0.95, sum(buckets('netvitals_http_duration_seconds', { ...pods, direction }), 'le', 'namespace', 'pod')),
          0,
        ),
      ),
      legend: '{{namespace}}/{{pod}}',
    },
    {
      query: topk(
        5,
        above(quantile(0.95, sum(buckets('netvitals_http_duration_seconds', { ...hosts, direction }), 'le', 'node')), 0),
      ),
      legend: 'host {{node}}',
    },
  ],
})

const slowestWorkloads: Panel = {
  kind: 'graph',
  title: 'Top workloads by HTTP latency p95, as server',
  description:
    'Which workloads answer slowly; what is on the network of the host or outside Kubernetes has none and is left out. Whoever waits for a slow one is slow too: the culprit is the last in the chain of calls. `netvitals show edges` says who calls whom.',
  unit: 's',
  empty: off,
  levels: thresholds.httpSeconds,
  targets: [
    {
      query: topk(20, above(quantile(0.95, sum(withWorkload(durations('in'), inNamespaces), 'le', 'namespace', 'workload')), 0)),
      legend: '{{namespace}}/{{workload}}',
    },
  ],
}

export const httpBoard: Board = {
  uid: 'netvitals-http',
  title: 'L7 (HTTP)',
  description:
    'Why a service is slow or answers 4xx and 5xx: plaintext HTTP/1 requests of pods by status, method and latency, as servers (in) and as clients (out). Off unless ports are set: capture.httpPorts of the chart, with the tier capture, or --capture.http-ports; of a Service give its port and that of its pods. TLS, HTTP/2 and what stays inside a pod cannot be read; the last row says how much.',
  variables: ['cluster', 'job', 'node', 'namespace', 'pod'],
  rows: [
    { title: 'Overview', panels: [...Object.values(now), byClass('in'), byClass('out')] },
    {
      title: 'Who fails',
      panels: [
        ...classes.flatMap((name) => directions.map((direction) => podsWith(name, direction))),
        ...classes.map(workloadsWith),
        ...directions.map(without),
        {
          kind: 'table',
          title: 'HTTP 4xx and 5xx by pod, method and status',
          description:
            'The twenty most frequent failures in the whole time shown; direction `in` as server, `out` as client. The same status `out` at one pod and `in` at another is one failure seen from both ends. `netvitals observe --http --pod NAMESPACE/POD --status 503` shows the paths.',
          empty: 'No answer of the 4xx or 5xx',
          labels: { namespace: 'Namespace', pod: 'Pod', direction: 'Direction', method: 'Method', status: 'Status' },
          sortBy: 'Answers',
          columns: [
            {
              heading: 'Answers',
              unit: 'short',
              query: function_(
                'round',
                topk(
                  20,
                  above(
                    sum(
                      increase('netvitals_http_requests_total', { ...pods, status: like('[45]..') }, shownWindow),
                      'namespace',
                      'pod',
                      'direction',
                      'method',
                      'status',
                    ),
                    0,
                  ),
                ),
              ),
            },
          ],
        },
      ],
    },
    { title: 'Who is slow', panels: [slowestWorkloads, ...directions.map(slowest)].map((panel) => ({ ...panel, width: 8 })) },
    ...directions.map(inDirection),
    {
      title: 'What cannot be seen',
      isCollapsed: true,
      panels: [
        {
          kind: 'graph',
          title: 'Connections that cannot be read (TLS, HTTP/2)',
          description:
            'Connections a second to the ports that are set in which there is nothing to read: `tls`, `h2` HTTP/2, `upgraded` to WebSocket and the like, `other` no HTTP. Their requests are in no number of this board. Where a proxy ends TLS, set the port behind it.',
          unit: 'cps',
          width: 8,
          empty: off,
          targets: [{ query: sum(rate('netvitals_http_unreadable_connections_total', here), 'kind'), legend: '{{kind}}' }],
        },
        {
          kind: 'graph',
          title: 'HTTP messages lost or not paired',
          description:
            'Times a second that the next message had to be looked for because packets were lost or odd, and requests and answers that could not be told to belong together. High: the numbers of this board are too low. See the packets that the capture lost, beside it.',
          unit: 'ops',
          width: 8,
          empty: off,
          targets: [
            { query: sum(rate('netvitals_http_losses_total', here)), legend: 'losses' },
            { query: sum(rate('netvitals_http_unpaired_total', here)), legend: 'unpaired' },
          ],
        },
        { ...lostByCapture('capture_ring', 'capture_interface', 'tcp_full'), width: 8 },
      ],
    },
  ],
}
