import type { Suite } from '../suite.ts'
import { poolBatchSuite } from '../unit/pool/batch_suite.ts'
import { poolDispatchSuite } from '../unit/pool/dispatch_suite.ts'
import { joinSuite } from '../unit/pool/join_suite.ts'
import { poolLossSuite } from '../unit/pool/loss_suite.ts'
import { poolFairnessSuite } from '../unit/pool/fairness_suite.ts'
import { poolOverflowSuite } from '../unit/pool/overflow_suite.ts'
import { poolUnevenSuite } from '../unit/pool/uneven_suite.ts'
import { poolCapacitySuite } from '../unit/pool/capacity_suite.ts'
import { poolSpotCheckSuite } from '../unit/pool/spot_check_suite.ts'
import { poolVolunteerSuite } from '../unit/pool/volunteer_suite.ts'
import { announcerSuite } from '../unit/registry/announcer_suite.ts'
import { reconcileSuite } from '../unit/registry/reconcile_suite.ts'
import { tableSuite } from '../unit/registry/table_suite.ts'
import { watchSuite } from '../unit/registry/watch_suite.ts'
import { zonesSuite } from '../unit/registry/zones_suite.ts'
import { enrolTokenSuite } from '../unit/relay/enrol_token_suite.ts'
import { hubSuite } from '../unit/relay/hub_suite.ts'
import { balancersSuite } from '../unit/routing/balancers_suite.ts'
import { breakerSuite } from '../unit/routing/breaker_suite.ts'
import { consistentHashSuite } from '../unit/routing/consistent_hash_suite.ts'
import { hedgeSuite } from '../unit/routing/hedge_suite.ts'
import { loadSuite } from '../unit/routing/load_suite.ts'
import { outliersSuite } from '../unit/routing/outliers_suite.ts'
import { pickerSuite } from '../unit/routing/picker_suite.ts'
import { retryBudgetSuite } from '../unit/routing/retry_budget_suite.ts'
import { policySuite } from '../unit/routing/policy_suite.ts'
import { suspectsSuite } from '../unit/routing/suspects_suite.ts'
import { routerSuite } from '../unit/routing/router_suite.ts'
import { bulkheadSuite } from '../unit/rpc/bulkhead_suite.ts'
import { callTableSuite } from '../unit/rpc/call_table_suite.ts'
import { clientSuite } from '../unit/rpc/client_suite.ts'
import { contextSuite } from '../unit/rpc/context_suite.ts'
import { deadlineSuite } from '../unit/rpc/deadline_suite.ts'
import { httpStreamSuite } from '../unit/rpc/http_stream_suite.ts'
import { httpSuite } from '../unit/rpc/http_suite.ts'
import { outboxSuite } from '../unit/rpc/outbox_suite.ts'
import { peerSuite } from '../unit/rpc/peer_suite.ts'
import { portSuite } from '../unit/rpc/port_suite.ts'
import { socketPoolSuite } from '../unit/rpc/socket_pool_suite.ts'
import { socketSuite } from '../unit/rpc/socket_suite.ts'
import { streamSuite } from '../unit/rpc/stream_suite.ts'
import { codecSuite } from '../unit/wire/codec_suite.ts'
import { dtypeSuite } from '../unit/wire/dtype_suite.ts'
import { errorsSuite } from '../unit/wire/errors_suite.ts'
import { frameSuite } from '../unit/wire/frame_suite.ts'
import { goldenSuite } from '../unit/wire/golden_suite.ts'
import { jsonSuite } from '../unit/wire/json_suite.ts'
import { payloadSuite } from '../unit/wire/payload_suite.ts'
import { scanSuite } from '../unit/wire/scan_suite.ts'
import { tensorSuite } from '../unit/wire/tensor_suite.ts'
import { agentSuite } from '../unit/worker/agent_suite.ts'
import { modelSourceSuite } from '../unit/worker/model_source_suite.ts'
import { serveRunsSuite } from '../unit/worker/serve_runs_suite.ts'

/** The suites that run on Node, Deno, workerd and Chromium alike. */
export const suites: readonly Suite[] = [
  dtypeSuite,
  errorsSuite,
  tensorSuite,
  codecSuite,
  scanSuite,
  jsonSuite,
  payloadSuite,
  frameSuite,
  goldenSuite,
  deadlineSuite,
  callTableSuite,
  peerSuite,
  outboxSuite,
  streamSuite,
  portSuite,
  socketSuite,
  socketPoolSuite,
  clientSuite,
  bulkheadSuite,
  contextSuite,
  httpSuite,
  httpStreamSuite,
  joinSuite,
  poolDispatchSuite,
  poolBatchSuite,
  poolLossSuite,
  poolFairnessSuite,
  poolOverflowSuite,
  poolUnevenSuite,
  poolVolunteerSuite,
  poolCapacitySuite,
  poolSpotCheckSuite,
  loadSuite,
  pickerSuite,
  retryBudgetSuite,
  outliersSuite,
  breakerSuite,
  hedgeSuite,
  balancersSuite,
  consistentHashSuite,
  routerSuite,
  suspectsSuite,
  policySuite,
  tableSuite,
  announcerSuite,
  zonesSuite,
  reconcileSuite,
  watchSuite,
  enrolTokenSuite,
  hubSuite,
  serveRunsSuite,
  modelSourceSuite,
  agentSuite,
]
