import { counter, gauge, pod, type Scene, type Stretch, throughout, toScene } from './story.ts'

const entries = (subject: string, ...stretches: readonly Stretch[]) => [
  gauge('netvitals_conntrack_entries', pod(subject), ...stretches),
  gauge('netvitals_conntrack_entries_limit', pod(subject), throughout(stretches, 1000)),
]
/** A table that grows by so many entries a minute, of 100,000; what comes on top for ten minutes. */
const growing = (
  subject: string,
  first: number,
  perMinute: number,
  minutes: number,
  pulse?: { from: number; height: number },
) => {
  const isPulse = (minute: number): boolean => pulse !== undefined && minute > pulse.from && minute <= pulse.from + 10
  const steps = Array.from({ length: minutes }, (_, at) => first + (at + 1) * perMinute + (isPulse(at + 1) ? pulse!.height : 0))
  const stretches = steps.map((value): Stretch => [1, value])
  return [
    gauge('netvitals_conntrack_entries', pod(subject), ...stretches),
    gauge('netvitals_conntrack_entries_limit', pod(subject), [minutes, 100_000]),
  ]
}
const counted =
  (name: 'drop' | 'insert_failed') =>
  (subject: string, ...stretches: readonly Stretch[]) => [
    counter(`netvitals_conntrack_${name}_total`, pod(subject), ...stretches),
  ]

export const conntrackScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsConntrackNearlyFull',
    series: entries,
    normal: 300,
    below: 720,
    fault: 880,
    burst: [4, 990],
    lag: 0,
    pending: 5,
    labels: pod('fault'),
    description:
      'On node-1 shop/fault uses 88% of its connection tracking table. When it is full, packets of new connections are dropped. The board Conntrack shows which pods fill it.',
  }),
  toScene({
    alert: 'NetvitalsConntrackFull',
    series: (subject, ...stretches) => [
      gauge('netvitals_conntrack_entries', pod(subject), ...stretches),
      // Only here: the kernel may let a table grow a little beyond its limit.
      gauge('netvitals_conntrack_entries_limit', pod(subject), throughout(stretches, 1000)),
    ],
    normal: 300,
    below: 860,
    fault: 1040,
    burst: [1, 1040],
    lag: 0,
    pending: 2,
    // A limit of 0 is none.
    also: [
      gauge('netvitals_conntrack_entries', pod('unlimited'), [100, 5000]),
      gauge('netvitals_conntrack_entries_limit', pod('unlimited'), [100, 0]),
    ],
    labels: pod('fault'),
    description:
      'On node-1 shop/fault uses 104% of its connection tracking table: new connections are dropped, or will be in a moment. Raise net.netfilter.nf_conntrack_max now, then look in the board Conntrack for who fills it.',
  }),
  {
    alert: 'NetvitalsConntrackFillingUp',
    // At 200 a minute what is left of the table lasts 23,984 seconds less 60 a minute: from minute 160 less than four hours.
    series: [
      ...growing('fault', 20_051, 200, 200),
      ...growing('below', 15_000, 200, 200),
      ...growing('burst', 55_000, 0, 200, { from: 100, height: 30_000 }),
      // Full in an hour, says the line; but an emptier table grows every morning.
      ...growing('morning', 500, 260, 200),
      // Was not there an hour before.
      ...growing('new', 60_000, 500, 40),
    ],
    checks: [
      { minute: 35, fires: [] },
      { minute: 110, fires: [] },
      { minute: 120, fires: [] },
      { minute: 125, fires: [] },
      { minute: 173, fires: [] },
      {
        minute: 178,
        fires: [
          {
            labels: pod('fault'),
            description:
              'On node-1 the connection tracking table of shop/fault is over half full, and by its growth in the last hour full in 3h 41m 44s. The board Conntrack shows which pods fill it.',
          },
        ],
      },
      // The series end.
      { minute: 206, fires: [] },
    ],
  },
  toScene({
    alert: 'NetvitalsConntrackDropping',
    series: counted('drop'),
    normal: 0,
    below: 0.9,
    fault: 1.1,
    burst: [1, 9],
    lag: 5,
    pending: 5,
    labels: pod('fault'),
    description:
      'On node-1 connection tracking of shop/fault drops 1.1 packets a second: its table is full, it has no memory, or NAT finds no free port. Whoever they belong to sees connects that time out.',
  }),
  toScene({
    alert: 'NetvitalsConntrackInsertFailures',
    series: counted('insert_failed'),
    normal: 0,
    below: 0.09,
    fault: 0.11,
    burst: [5, 1],
    lag: 5,
    pending: 15,
    labels: pod('fault'),
    description:
      'On node-1 connection tracking of shop/fault fails to insert 110m entries a second, and drops the packet of each: two packets of one connection raced, or NAT gave two connections the same port. A DNS query that is lost so takes five seconds longer.',
  }),
]
