import { describe, expect, it } from 'vitest'
import { type Board, targetsOf } from '../../helm/dashboards/board.ts'
import { clustersBoard } from '../../helm/dashboards/clusters.ts'
import { conntrackBoard } from '../../helm/dashboards/conntrack.ts'
import { checkQueries, prometheusMissing } from './promtool.ts'

/** The queries of a panel over all there is, of ten minutes. */
function queriesOf(board: Board, title: string): string[] {
  const panel = board.rows.flatMap((row) => row.panels).find((one) => one.title === title)
  expect(panel, title).toBeDefined()
  return targetsOf(panel!).map(({ query }) =>
    board.variables
      .toSorted((a, b) => b.length - a.length)
      .reduce((text, name) => text.replaceAll(`$${name}`, '.*'), query.text)
      .replaceAll('$__rate_interval', '10m')
      .replaceAll('$__range', '10m'),
  )
}
const queryOf = (board: Board, title: string): string => queriesOf(board, title)[0]!

const agent = (node: string, labels = '') => `{job="netvitals", instance="${node}:10477", node="${node}"${labels}}`
const host = ', namespace="", pod=""'
const cart = ', namespace="shop", pod="cart-0"'
const called = (node: string) => `node="${node}", instance="${node}:10477"`

describe.skipIf(prometheusMissing)('the board Clusters', () => {
  const dropped = (node: string, labels: string) => `netvitals_dropped_packets_total${agent(node, `${labels}, reason="x"`)}`
  const available = (node: string) => `netvitals_source_available${agent(node, ', source="trace-drops"')}`

  it('tells a node that drops nothing from one whose drops are not read', () => {
    checkQueries(
      {
        [available('quiet')]: '1x10',
        [available('blind')]: '0x10',
        [available('busy')]: '1x10',
        [dropped('busy', `${cart}, category="netfilter"`)]: '0+60x10',
        [dropped('busy', `${host}, category="normal"`)]: '0+60x10',
      },
      {
        [queryOf(clustersBoard, 'Dropped packets')]: [['{}', 1]],
        [queryOf(clustersBoard, 'Dropped packets by node')]: [
          [`{whose="busy", ${called('busy')}}`, 1],
          [`{whose="quiet", ${called('quiet')}}`, 0],
        ],
      },
    )
    checkQueries({ [available('blind')]: '0x10' }, { [queryOf(clustersBoard, 'Dropped packets')]: [] })
  })

  it('has a ratio as long as there is a whole', () => {
    const answers = (code: string) => `netvitals_dns_responses_total${agent('a', `${cart}, rcode="${code}"`)}`
    const ratio = queryOf(clustersBoard, 'DNS error ratio')
    checkQueries({ [answers('NOERROR')]: '0+60x10', [answers('NXDOMAIN')]: '0+60x10' }, { [ratio]: [['{}', 0]] })
    checkQueries({ [answers('NOERROR')]: '0+90x10', [answers('SERVFAIL')]: '0+30x10' }, { [ratio]: [['{}', 0.25]] })
    checkQueries({ [answers('NOERROR')]: '5x10' }, { [ratio]: [] })
  })

  it('counts once what crosses several devices of a node', () => {
    const received = (device: string) => `netvitals_device_received_bytes_total${agent('a', `, device="${device}"`)}`
    const again = [
      'lo',
      'bond0',
      'eth0.100',
      'br-3f2a',
      'docker0',
      'docker_gwbridge',
      'cni0',
      'flannel.1',
      'vxlan.calico',
      'tunl0',
    ]
    const given = Object.fromEntries([...again, 'eth0', 'enp1s0f0np0', 'wlan0'].map((name) => [received(name), '0+60x10']))
    checkQueries(given, { [queryOf(clustersBoard, 'Traffic of all nodes')]: [['{}', 3]] })
  })
})

describe.skipIf(prometheusMissing)('the board Conntrack', () => {
  const entries = (node: string, labels = host) => `netvitals_conntrack_entries${agent(node, labels)}`
  const limit = (node: string, labels = host) => `netvitals_conntrack_entries_limit${agent(node, labels)}`

  it('says when the first table is full, by what it grew', () => {
    checkQueries(
      {
        // 60 a minute: at 1,600 after ten minutes, with 400 left.
        [entries('growing')]: '1000+60x10',
        [limit('growing')]: '2000x10',
        [entries('slower')]: '1000+6x10',
        [limit('slower')]: '2000x10',
        [entries('shrinking')]: '1000-60x10',
        [limit('shrinking')]: '2000x10',
        // At this rate it takes days.
        [entries('vast')]: '1000+1x10',
        [limit('vast')]: '1000000x10',
      },
      {
        [queryOf(conntrackBoard, 'Full in')]: [['{}', 400]],
        [queryOf(conntrackBoard, 'Time until full')]: [
          [`{whose="growing", ${called('growing')}}`, 400],
          [`{whose="slower", ${called('slower')}}`, 9400],
        ],
        [queryOf(conntrackBoard, 'Fullest table')]: [['{}', 0.8]],
      },
    )
  })

  it("keeps a pod's own table apart from the host's", () => {
    checkQueries(
      { [entries('a')]: '10x10', [limit('a')]: '100x10', [entries('a', cart)]: '90x10', [limit('a', cart)]: '100x10' },
      {
        [queryOf(conntrackBoard, 'Fullest table')]: [['{}', 0.1]],
        [queryOf(conntrackBoard, 'Fill by pod')]: [['{namespace="shop", pod="cart-0"}', 0.9]],
      },
    )
  })

  it('says who fills the table: all that fill it add up to it', () => {
    const filled = (labels: string) => `netvitals_conntrack_host_entries${agent('a', labels)}`
    const nobody = `netvitals_conntrack_host_entries_unattributed${agent('a')}`
    const [pods = '', hosts = '', unknown = ''] = queriesOf(conntrackBoard, 'Who fills the tables')
    checkQueries(
      {
        [filled(host)]: '3x10',
        [filled(cart)]: '5x10',
        [nobody]: '2x10',
        [`netvitals_pod_info${agent('a', `${cart}, workload="cart", workload_type="statefulset", host_network="false"`)}`]:
          '1x10',
      },
      {
        [pods]: [['{namespace="shop", pod="cart-0"}', 5]],
        [hosts]: [['{}', 3]],
        [unknown]: [['{}', 2]],
        [queryOf(conntrackBoard, 'Entries by workload')]: [['{namespace="shop", workload="cart"}', 5]],
      },
    )
  })
})
