import { agentAlerts } from './agent.ts'
import { conntrackAlerts } from './conntrack.ts'
import { deviceAlerts } from './devices.ts'
import { dnsAlerts } from './dns.ts'
import { dropAlerts } from './drops.ts'
import type { AlertGroup } from './rule.ts'
import { socketAlerts } from './sockets.ts'
import { tcpAlerts } from './tcp.ts'

/** Every alert, by topic. */
export const alertGroups: readonly AlertGroup[] = [
  conntrackAlerts,
  socketAlerts,
  tcpAlerts,
  dropAlerts,
  dnsAlerts,
  deviceAlerts,
  agentAlerts,
]
