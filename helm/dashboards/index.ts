import type { Board } from './board.ts'
import { dnsClusterBoard } from './dns-cluster.ts'
import { dnsWorkloadBoard } from './dns-workload.ts'
import { dropsBoard } from './drops.ts'
import { httpBoard } from './http.ts'

/** Every dashboard. */
export const boards: readonly Board[] = [dropsBoard, dnsClusterBoard, dnsWorkloadBoard, httpBoard]
