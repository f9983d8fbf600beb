import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { agentNamespace, createPods, installAgent, kubectl, type Pod, readMetrics, remove, removeAgent } from './cluster.ts'

const namespace = 'nvh-names'

describe('where names come from', () => {
  let web: Pod

  beforeAll(async () => {
    ;({ web } = await createPods(namespace, { web: 'Deployment' }))
  })
  afterAll(() => {
    remove('namespace', namespace)
    removeAgent()
  })

  /** What the service account may do in a namespace besides what every one may. */
  function readRights(): readonly string[] {
    const rightsOf = (name: string): string[] => {
      const who = ['--as', `system:serviceaccount:${agentNamespace}:${name}`, '--as-group', 'system:serviceaccounts']
      const rows = kubectl('auth', 'can-i', '--list', '-n', 'kube-system', ...who, '--as-group', 'system:authenticated')
      return rows
        .trim()
        .split('\n')
        .map((row) => row.replaceAll(/ +/g, ' '))
    }
    const ofAll = rightsOf('default')
    return rightsOf('netvitals')
      .filter((row) => !ofAll.includes(row))
      .sort()
  }

  async function readInfo(): Promise<readonly string[]> {
    const lines = await readMetrics()
    return lines.flatMap(({ metric, pod, labels }) => (metric === 'pod_info' && pod === web.name ? [labels] : []))
  }

  it.each([
    { pods: 'api', rights: ['pods [] [] [list watch]'] },
    { pods: 'kubelet', rights: ['nodes/pods [] [] [get]'] },
  ])('$pods: the pod and its workload, with these rights and no others', async ({ pods, rights }) => {
    installAgent({ 'identity.pods': pods, 'identity.peers': 'off' })
    expect(readRights()).toEqual(rights)
    const info = ['workload="web",workload_type="deployment",host_network="false"']
    await expect.poll(readInfo, { timeout: 10_000, interval: 500 }).toEqual(info)
  })

  it('off: pods go by their UID, without any rights', async () => {
    installAgent({ 'identity.pods': 'off', 'identity.peers': 'off' })
    expect(readRights()).toEqual([])
    const uid = kubectl('-n', namespace, 'get', 'pod', web.name, '-o', 'jsonpath={.metadata.uid}')
    const isThere = async (): Promise<boolean> =>
      (await readMetrics()).some(({ metric, pod }) => metric === 'tcp_sockets' && pod?.includes(uid))
    await expect.poll(isThere, { timeout: 10_000, interval: 500 }).toBe(true)
  })

  it('the rights to name pods of other nodes', async () => {
    const slices = 'endpointslices.discovery.k8s.io [] [] [list watch]'
    installAgent({ 'identity.pods': 'api', 'identity.peers': 'endpointslices' })
    expect(readRights()).toEqual([slices, 'pods [] [] [list watch]', 'services [] [] [list watch]'])
  })
})
