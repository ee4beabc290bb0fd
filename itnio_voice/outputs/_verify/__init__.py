"""The parts of `outputs.verify`: rows as they are compared, the stored records, and the comparison with the API's."""
