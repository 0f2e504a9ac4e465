"""What people see of calls: those that live and those that ended last, with all that happened in each."""
