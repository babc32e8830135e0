import type { ColumnType, Generated, Insertable, Selectable } from 'kysely'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { SessionNotice } from '#core/api/person.ts'
import type { DecisionView, Restriction } from '#core/api/words.ts'
import type { Claim, DeliveryMode, Obligations, Right } from '#core/trust/words.ts'

/** The site's tables. Migrations make them; this file says what they hold. */
export interface Database {
  people: PeopleTable
  known_sources: KnownSourcesTable
  sign_in_failures: SignInFailuresTable
  web_sessions: WebSessionsTable
  workspaces: WorkspacesTable
  agents: AgentsTable
  enrolment_tokens: EnrolmentTokensTable
  sessions: SessionsTable
  tickets: TicketsTable
  decisions: DecisionsTable
  redecisions: RedecisionsTable
  policies: PoliciesTable
  settings: SettingsTable
  audit_entries: AuditEntriesTable
  audit_hashes: AuditHashesTable
  audit_head: AuditHeadTable
}

type Timestamp = ColumnType<Date, Date, Date>
type Json<T> = ColumnType<T, string, string>

interface PeopleTable {
  id: string
  login: string
  name: string
  /** PHC string, or null for a person who signs in elsewhere. */
  password: string | null
  groups: string[]
  disabled: Generated<boolean>
  created_at: Timestamp
}

/** From where a person has signed in before: strangers elsewhere never slow them there. */
interface KnownSourcesTable {
  person_id: string
  source: string
  last_at: Timestamp
}

/** Throttle state: key is made by `core/identity/throttle.ts`. */
interface SignInFailuresTable {
  key: string
  failures: number
  last_at: Timestamp
}

interface WebSessionsTable {
  id: string
  /** SHA-256 of the cookie. */
  token_hash: Buffer
  person_id: string
  /** RFC 7638 thumbprint of the key that signs every request. */
  thumbprint: string
  /** Address the site last saw this web session come from. */
  address: string
  created_at: Timestamp
  last_seen_at: Timestamp
  expires_at: Timestamp
}

interface WorkspacesTable {
  id: string
  position: number
  definition: Json<WorkspaceDefinition>
}

/** Hosts and gateways: everything that enrolled with a token and dials in. */
interface AgentsTable {
  id: string
  kind: 'host' | 'gateway'
  name: string
  /** Names and addresses that its certificate says it is reached by. */
  dns_names: string[]
  /** Of hosts: the set of like desktops that it serves. */
  pool: string
  certificate_expires_at: Timestamp
  revoked_at: Timestamp | null
  draining: Generated<boolean>
  /** X25519 public key of a host. */
  host_key: Buffer | null
  capacity: Generated<number>
  /** Live sessions placed on the host; placement claims a place here first. */
  placed: Generated<number>
  report: Json<AgentReport>
  last_seen_at: Timestamp | null
}

/** What the agent last said about itself. */
export interface AgentReport {
  readonly cpuPercent?: number
  readonly memoryFreeMiB?: number
  readonly warm?: number
  readonly publicUrl?: string
  readonly agentUrl?: string
  readonly connections?: number
}

/** What a single-use token makes of its bearer. */
export type TokenKind = 'host' | 'gateway' | 'admin'

interface EnrolmentTokensTable {
  secret_hash: Buffer
  kind: TokenKind
  name: string
  dns_names: string[]
  pool: string
  expires_at: Timestamp
  used_at: Timestamp | null
}

export type SessionState = 'starting' | 'ready' | 'ending' | 'ended'

interface SessionsTable {
  id: string
  person_id: string
  web_session_id: string | null
  workspace_id: string
  host_id: string
  mode: DeliveryMode
  account: string
  width: number
  height: number
  state: SessionState
  connected: Generated<boolean>
  rights: Right[]
  restrictions: Json<readonly Restriction[]>
  obligations: Json<Obligations>
  /** Claims the endpoint made about itself at launch; they can only lower trust. */
  evidence: Json<readonly Claim[]>
  decision_id: string
  started_at: Timestamp
  ends_at: Timestamp
  last_input_at: Timestamp | null
  end: Json<SessionEnd> | null
  ended_at: Timestamp | null
}

export type SessionEnd = NonNullable<SessionNotice['end']>

interface TicketsTable {
  /** Derived from the ticket, 16 bytes; the ticket itself is never stored. */
  id: Buffer
  session_id: string
  /** Pre-shared key and client key, sealed to the host's key. */
  sealed: Buffer
  expires_at: Timestamp
  armed_at: Timestamp | null
  redeemed_at: Timestamp | null
}

interface DecisionsTable {
  id: string
  at: Timestamp
  person_id: string
  workspace_id: string
  session_id: string | null
  cause: 'launch' | 'reconnect' | 'group' | 'zone' | 'policy' | 'evidence' | 'sweep'
  zone: string
  decision: Json<DecisionView>
  audit_index: string
}

/** Sessions whose decision must be taken again; any site node takes them, each once. */
interface RedecisionsTable {
  session_id: string
  cause: DecisionsTable['cause']
  requested_at: Timestamp
}

interface PoliciesTable {
  serial: Generated<number>
  text: string
  digest: string
  activated_at: Timestamp
  activated_by: string
}

interface SettingsTable {
  key: 'zones'
  value: Json<readonly ZoneDefinition[]>
}

interface AuditEntriesTable {
  index: string
  entry: Buffer
}

/** Level 0: hashes of the entries; level L: the root of each full tile of level L - 1. */
interface AuditHashesTable {
  level: number
  index: string
  hash: Buffer
}

/** One row: the size and frontier that the next batch continues from, and the signed checkpoint. */
interface AuditHeadTable {
  one: Generated<boolean>
  size: string
  frontier: Buffer
  checkpoint: string
}

export type PersonRow = Selectable<PeopleTable>
export type WebSessionRow = Selectable<WebSessionsTable>
export type WorkspaceRow = Selectable<WorkspacesTable>
export type AgentRow = Selectable<AgentsTable>
export type SessionRow = Selectable<SessionsTable>
export type NewSession = Insertable<SessionsTable>
export type DecisionRow = Selectable<DecisionsTable>
export type DecisionCause = DecisionsTable['cause']
