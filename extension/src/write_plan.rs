//! How rows of a table of ours are written: where its columns lie, and which rows its indexes take. A session works that
//! out once per table and keeps it until some relation changes.

use crate::cached;
use crate::elements::text;
use crate::table::place_of;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

/// Columns of a table in the order their values are given, by name: places in the tuple differ after upgrades.
pub type Columns<const N: usize> = [&'static CStr; N];

pub struct WritePlan {
    table: pg_sys::Oid,
    /// Places of the columns in the tuple.
    pub places: Vec<usize>,
    /// None where one of the indexes is of another kind; an operator may have made one.
    pub indexes: Option<Vec<PlainIndex>>,
}

/// A B-tree on columns, of all rows or of those that meet a simple condition. To have PostgreSQL's executor form its
/// entries and judge that condition costs more than the rest of a row.
pub struct PlainIndex {
    pub id: pg_sys::Oid,
    pub unique: bool,
    /// Which of the columns given stand in an entry; None is one that is never given, so NULL.
    pub columns: Vec<Option<usize>>,
    condition: Option<Condition>,
}

/// What a row has to meet. Columns are numbered as they are given.
enum Condition {
    IsNotNull(usize),
    /// A text column is this text, or another one.
    Text {
        column: usize,
        wanted: Vec<u8>,
        equal: bool,
    },
}

impl PlainIndex {
    unsafe fn of(index: pg_sys::Relation, places: &[usize]) -> Option<Self> {
        unsafe {
            let form = &*(*index).rd_index;
            let is_plain = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && form.indisready
                && form.indimmediate
                && !form.indisexclusion;
            let numbers = form.indkey.values.as_slice(form.indnatts as usize);
            // 0 is an expression.
            if !is_plain || numbers.iter().any(|number| *number < 1) {
                return None;
            }
            let column_of = |number: i16| places.iter().position(|place| *place == number as usize - 1);
            let condition = pg_sys::RelationGetIndexPredicate(index);
            let condition = match condition.as_ref() {
                None => None,
                Some(condition) => Some(Condition::of(condition, column_of)?),
            };
            let columns = numbers.iter().map(|number| column_of(*number)).collect();
            Some(Self { id: (*index).rd_id, unique: form.indisunique, columns, condition })
        }
    }

    pub fn takes(&self, row: &[Option<pg_sys::Datum>]) -> bool {
        match &self.condition {
            None => true,
            Some(Condition::IsNotNull(column)) => row[*column].is_some(),
            Some(Condition::Text { column, wanted, equal }) => {
                row[*column].is_some_and(|value| (unsafe { text(value) } == wanted.as_slice()) == *equal)
            }
        }
    }
}

thread_local! {
    /// One a table, for each is written in one place, of which there are few; with the number of relations' changes they were made at.
    static PLANS: RefCell<(u64, Vec<Rc<WritePlan>>)> = RefCell::default();
}

impl WritePlan {
    /// # Safety
    /// The relation is open and locked for writing.
    pub unsafe fn of<const N: usize>(relation: pg_sys::Relation, columns: &Columns<N>) -> Rc<Self> {
        let table = unsafe { (*relation).rd_id };
        let changes = cached::relation_changes();
        let known = PLANS.with_borrow_mut(|(as_of, plans)| {
            if *as_of != changes {
                (*as_of, *plans) = (changes, Vec::new());
            }
            plans.iter().find(|plan| plan.table == table).cloned()
        });
        known.unwrap_or_else(|| {
            let fresh = Rc::new(unsafe { Self::make(relation, columns) });
            PLANS.with_borrow_mut(|(_, plans)| plans.push(fresh.clone()));
            fresh
        })
    }

    unsafe fn make<const N: usize>(relation: pg_sys::Relation, columns: &Columns<N>) -> Self {
        unsafe {
            let places: Vec<usize> = columns.iter().map(|name| place_of((*relation).rd_att, name)).collect();
            let mut indexes = Some(Vec::new());
            let list = pg_sys::RelationGetIndexList(relation);
            for at in 0..list.as_ref().map_or(0, |list| list.length) {
                let id = (*(*list).elements.add(at as usize)).oid_value;
                let index = pg_sys::index_open(id, pg_sys::RowExclusiveLock as i32);
                indexes = indexes.zip(PlainIndex::of(index, &places)).map(|(mut known, plain)| {
                    known.push(plain);
                    known
                });
                pg_sys::index_close(index, pg_sys::NoLock as i32);
            }
            Self { table: (*relation).rd_id, places, indexes }
        }
    }
}

impl Condition {
    /// None for any other. `column_of`: a column's number by that in the table.
    unsafe fn of(condition: &pg_sys::List, column_of: impl Fn(i16) -> Option<usize>) -> Option<Self> {
        unsafe {
            if condition.length != 1 {
                return None;
            }
            let expression = (*condition.elements).ptr_value.cast::<pg_sys::Node>();
            match (*expression).type_ {
                pg_sys::NodeTag::T_NullTest => {
                    let test = &*expression.cast::<pg_sys::NullTest>();
                    (test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL)
                        .then(|| column_of(column(test.arg.cast())?).map(Self::IsNotNull))?
                }
                pg_sys::NodeTag::T_OpExpr => {
                    let test = &*expression.cast::<pg_sys::OpExpr>();
                    let equal = match test.opfuncid.to_u32() {
                        pg_sys::F_TEXTEQ => true,
                        pg_sys::F_TEXTNE => false,
                        _ => return None,
                    };
                    let arguments = (*test.args).elements;
                    let column = column_of(column((*arguments).ptr_value.cast())?)?;
                    let constant = (*arguments.add(1)).ptr_value.cast::<pg_sys::Const>();
                    if (*constant).xpr.type_ != pg_sys::NodeTag::T_Const || (*constant).constisnull {
                        return None;
                    }
                    let wanted = text((*constant).constvalue).to_vec();
                    Some(Self::Text { column, wanted, equal })
                }
                _ => None,
            }
        }
    }
}

/// The column's number in the table, if it is one.
unsafe fn column(expression: *mut pg_sys::Node) -> Option<i16> {
    unsafe {
        let column = &*expression.cast::<pg_sys::Var>();
        (column.xpr.type_ == pg_sys::NodeTag::T_Var && column.varattno > 0).then_some(column.varattno)
    }
}
