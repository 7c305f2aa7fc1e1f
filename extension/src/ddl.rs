//! What a DDL command did, for event triggers: of ALTER TABLE, SQL is told the table and no more.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// attaches_partition(command pg_ddl_command) returns boolean: whether it is ALTER TABLE … ATTACH PARTITION.
#[pg_extern(sql = false)]
fn attaches_partition(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    unsafe {
        let Some(command) = pgrx::pg_getarg_datum(fcinfo, 0) else { return false };
        let command: *const pg_sys::CollectedCommand = command.cast_mut_ptr();
        if (*command).type_ != pg_sys::CollectedCommandType::SCT_AlterTable {
            return false;
        }
        let steps = pgrx::PgList::<pg_sys::CollectedATSubcmd>::from_pg((*command).d.alterTable.subcmds);
        steps.iter_ptr().any(|step| {
            let parsed: *const pg_sys::AlterTableCmd = (*step).parsetree.cast();
            (*parsed).subtype == pg_sys::AlterTableType::AT_AttachPartition
        })
    }
}
