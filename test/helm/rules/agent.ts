import { counter, gauge, type Scene, type Series, type Stretch, scraped, throughout, toScene } from './story.ts'

const built = { version: '0.1.0', runtime: 'v20.20.2' }
const isUp = (target: Readonly<Record<string, string>>, ...stretches: readonly Stretch[]): Series =>
  gauge('up', target, ...stretches)

/** Told by nothing else when it comes to it. */
const absentScene = (firesFor: number): Scene => ({
  alert: 'NetvitalsAgentsAbsent',
  series: [
    gauge('netvitals_build_info', { ...scraped('node-1'), ...built }, [20, 1], [firesFor, 'none'], [20, 1]),
    isUp({ job: 'others', instance: 'a' }, [20 + firesFor + 20, 1]),
  ],
  checks: [
    { minute: 20, fires: [] },
    { minute: 20 + Math.min(firesFor, 15), fires: [] },
    ...(firesFor <= 15
      ? []
      : [
          {
            minute: 20 + 15 + 2,
            fires: [
              {
                labels: {},
                description:
                  'Prometheus has no metrics of any netvitals agent: they are not scraped, or all of them are down. No other alert of netvitals can fire.',
              },
            ],
          },
        ]),
    { minute: 20 + firesFor + 2, fires: [] },
    { minute: 20 + firesFor + 20, fires: [] },
  ],
})

export const agentScenes: readonly Scene[] = [
  // A job with the name in it, whether the agent has ever answered or not.
  toScene({
    alert: 'NetvitalsAgentDown',
    series: (node, ...stretches) => [isUp({ ...scraped(node), job: 'monitoring/nv-netvitals' }, ...stretches)],
    normal: 1,
    below: 1,
    fault: 0,
    burst: [8, 0],
    lag: 0,
    pending: 10,
    also: [isUp({ job: 'others', instance: 'a' }, [100, 0])],
    labels: { ...scraped('fault'), job: 'monitoring/nv-netvitals' },
    description:
      'The netvitals agent at fault:10477 (job monitoring/nv-netvitals) cannot be scraped: no other alert of fault can fire.',
  }),
  // A job of any other name, with targets of others in it.
  toScene({
    alert: 'NetvitalsAgentDown',
    series: (node, ...stretches) => {
      const target = { ...scraped(node), job: 'nodes' }
      return [
        isUp(target, ...stretches),
        gauge(
          'netvitals_build_info',
          { ...target, ...built },
          ...stretches.map(([minutes, level]): Stretch => [minutes, level === 1 ? 1 : 'none']),
        ),
      ]
    },
    normal: 1,
    below: 1,
    fault: 0,
    burst: [8, 0],
    lag: 0,
    pending: 10,
    also: [isUp({ ...scraped('others'), job: 'nodes' }, [100, 0])],
    labels: { ...scraped('fault'), job: 'nodes' },
    description: 'The netvitals agent at fault:10477 (job nodes) cannot be scraped: no other alert of fault can fire.',
  }),
  absentScene(25),
  absentScene(12),
  toScene({
    alert: 'NetvitalsSourceFailing',
    series: (source, ...stretches) => [gauge('netvitals_source_success', { ...scraped('node-1'), source }, ...stretches)],
    normal: 1,
    below: 1,
    fault: 0,
    burst: [8, 0],
    lag: 0,
    pending: 10,
    // What is absent has not failed.
    also: [gauge('netvitals_source_available', { ...scraped('node-1'), source: 'trace-drops' }, [100, 0])],
    labels: { ...scraped('node-1'), source: 'fault' },
    description:
      'On node-1 the source fault of the agent fails in every sweep: its metrics are missing. `netvitals check` on the node says why.',
  }),
  toScene({
    alert: 'NetvitalsEventsLost',
    series: (node, ...stretches) => [
      counter('netvitals_lost_events_total', { ...scraped(node), kind: 'map_full' }, ...stretches),
      counter('netvitals_lost_events_total', { ...scraped(node), kind: 'slow_client' }, throughout(stretches, 100)),
    ],
    normal: 0,
    below: 0.09,
    fault: 0.11,
    burst: [4, 20],
    lag: 5,
    pending: 15,
    labels: { ...scraped('fault'), kind: 'map_full' },
    description: 'On fault the agent loses 110m events a second (map_full): what they belong to is counted too low.',
  }),
  toScene({
    alert: 'NetvitalsSeriesDropped',
    series: (node, ...stretches) => [counter('netvitals_series_dropped_total', scraped(node), ...stretches)],
    normal: 0,
    below: 0,
    fault: 0.05,
    burst: [4, 20],
    // Any is too many: it shows at once, and goes with the window.
    lag: 1,
    pending: 15,
    keeps: 5,
    labels: scraped('fault'),
    description:
      'On fault the agent leaves 50m values a second out, because a limit of series is reached: there are pods, ports or edges that no metric shows.',
  }),
  toScene({
    alert: 'NetvitalsNamesNotComing',
    series: (node, ...stretches) => [gauge('netvitals_names_up', { ...scraped(node), provider: 'pods' }, ...stretches)],
    normal: 1,
    below: 1,
    fault: 0,
    burst: [8, 0],
    lag: 0,
    pending: 10,
    labels: { ...scraped('fault'), provider: 'pods' },
    description:
      'On fault the agent gets no names (pods): what it knows stays, but new pods have no metrics. `netvitals check` on the node says why.',
  }),
]
