//! Arguments that are arrays, element by element: nothing is copied.

use pgrx::pg_sys;

/// The elements of an array; they last as long as it does.
pub struct Elements<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl Elements<'_> {
    /// Of an argument of the function that is called; None where it is NULL.
    ///
    /// # Safety
    /// The argument is an array.
    pub unsafe fn of_argument(fcinfo: pg_sys::FunctionCallInfo, number: usize) -> Option<Self> {
        unsafe {
            let argument = pgrx::fcinfo::pg_getarg_datum(fcinfo, number)?;
            let array = pg_sys::pg_detoast_datum(argument.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            let (mut bytes, mut by_value, mut align) = (0, false, 0);
            pg_sys::get_typlenbyvalalign((*array).elemtype, &mut bytes, &mut by_value, &mut align);
            let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array,
                (*array).elemtype,
                i32::from(bytes),
                by_value,
                align,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let count = count as usize;
            if count == 0 {
                return Some(Self { values: &[], nulls: &[] });
            }
            Some(Self {
                values: std::slice::from_raw_parts(values, count),
                nulls: std::slice::from_raw_parts(nulls, count),
            })
        }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// None where it is NULL, and past the end.
    pub fn get(&self, place: usize) -> Option<pg_sys::Datum> {
        let value = *self.values.get(place)?;
        (!self.nulls[place]).then_some(value)
    }
}

/// The bytes of a text.
///
/// # Safety
/// It is one, neither compressed nor out of line: an element of an array that is whole, a constant, a value just made.
pub unsafe fn text<'a>(value: pg_sys::Datum) -> &'a [u8] {
    unsafe { pgrx::varlena::varlena_to_byte_slice(value.cast_mut_ptr()) }
}
